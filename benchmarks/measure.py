"""Measuring two implementations side by side on a machine that is not quiet."""

import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch


@dataclass(frozen=True)
class Row:
    """One measurement; ratio is the median over pairs run back to back, ours / theirs."""

    name: str
    unit: str
    ours: float
    theirs: float
    ratio: float
    goal: float | None = None

    @property
    def verdict(self) -> str:
        if self.goal is None:
            return ""
        return "reached" if self.ratio <= self.goal else "MISSED"


def alternate(
    name: str,
    ours: Callable[[], object],
    theirs: Callable[[], object],
    *,
    pairs: int,
    goal: float | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Row:
    """Time both in turn after one warm-up each; the order within a pair changes from pair to pair.

    clock: another one, such as `time.process_time` where others keep the processor busy.
    """
    ours()
    theirs()
    times: dict[str, list[float]] = {"ours": [], "theirs": []}
    for pair in range(pairs):
        order = [("ours", ours), ("theirs", theirs)]
        for side, run in order if pair % 2 == 0 else reversed(order):
            times[side].append(_seconds(run, clock))
    ratios = [a / b for a, b in zip(times["ours"], times["theirs"], strict=True)]
    return Row(
        name,
        "s",
        statistics.median(times["ours"]),
        statistics.median(times["theirs"]),
        statistics.median(ratios),
        goal,
    )


def _seconds(run: Callable[[], object], clock: Callable[[], float]) -> float:
    _synchronize()
    started = clock()
    run()
    _synchronize()
    return clock() - started


def _synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def seconds_of_command(command: list[str]) -> Callable[[], object]:
    return lambda: subprocess.run(command, check=True, capture_output=True)


def peak_growth(run: Callable[[], object]) -> float:
    """MiB by which memory peaks above where it is now: of the GPU, else of this process (Linux)."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    run()
    return (_status("VmHWM") - before) / 1024


def process_peak() -> float:
    """MiB that this process held at most, everything in it (Linux)."""
    return _status("VmHWM") / 1024


def _status(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))


def in_fresh_process(script: str, *arguments: str) -> float:
    """The number that `script` prints last; memory is only comparable between fresh processes."""
    result = subprocess.run([sys.executable, script, *arguments], check=True, capture_output=True, text=True)
    return float(result.stdout.split()[-1])


def table(rows: list[Row]) -> str:
    lines = ["| | ours | diffusers | ours / diffusers | goal | |", "|---|---|---|---|---|---|"]
    for row in rows:
        goal = "" if row.goal is None else f"<= {row.goal:g}"
        theirs = "" if row.theirs == 0 else f"{row.theirs:.3g} {row.unit}"
        cells = (row.name, f"{row.ours:.3g} {row.unit}", theirs, f"{row.ratio:.2f}", goal, row.verdict)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def write_results(path: Path, rows: list[Row]) -> None:
    device = (
        torch.cuda.get_device_name()
        if torch.cuda.is_available()
        else platform.processor() or platform.machine()
    )
    content = {
        "device": device,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "rows": [asdict(row) for row in rows],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n")


def write_table(path: Path, marker: str, rows: list[Row]) -> None:
    """Put the table between the page's two markers of that name."""
    start, end = f"<!-- table: {marker} -->", "<!-- end of table -->"
    before, rest = path.read_text().split(start)
    _, after = rest.split(end, 1)
    path.write_text(f"{before}{start}\n{table(rows)}\n{end}{after}")
