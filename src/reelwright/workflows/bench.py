"""Measure what shortcuts save and what they cost: each run beside the exact one, in alternation."""

import json
import platform
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from reelwright.core.config import to_mapping, validate
from reelwright.core.errors import ConfigError
from reelwright.core.events import ConsoleText, Event, FileSaved, Finished, Notice, StageStarted, StepDone
from reelwright.core.log import RunLog
from reelwright.core.paths import check_writable, write_text_atomic
from reelwright.core.provenance import library_versions
from reelwright.core.run_folder import RunFolder
from reelwright.execution.devices import choose_device
from reelwright.protocols.bench_config import BenchConfig
from reelwright.protocols.configs import GenerateConfig
from reelwright.workflows.benching.quality import compare
from reelwright.workflows.benching.results import Result, result_of, table_of
from reelwright.workflows.benching.running import run_alone, run_here
from reelwright.workflows.benching.variants import (
    Variant,
    baseline_of,
    check_bench,
    prompt_lines,
    told,
    variants_of,
)
from reelwright.workflows.benching.watching import RunTaken
from reelwright.workflows.clips.recording import ROOM_NEEDED, recorded, with_seed

REPORT = "bench.json"
"""Within a run: all that was measured."""
_STAGE = "bench"
_PROMPTS = "prompts.txt"


def run(family: str, config: GenerateConfig, bench: BenchConfig) -> Iterator[Event]:
    """Make the same clips in all ways, `bench.repeat` times, and compare them with those of the exact run.

    Prints a table and writes bench.json. A preset that costs more than it may is told of; that is no failure.
    """
    bench = validate(bench, "bench")
    config = with_seed(validate(config, "bench"))
    check_bench(config)
    variants = [baseline_of(family, config), *variants_of(family, config, bench)]
    lines = prompt_lines(family, config, bench)
    check_writable(config.run or config.out, ROOM_NEEDED)
    if config.run is not None and (config.run / REPORT).exists():
        raise ConfigError(f"run: {config.run} holds measurements already. Choose another --run.")
    with RunFolder.create(config.out, config.run, f"bench-{family}") as folder, RunLog(folder.log_path):
        write_text_atomic(folder.path / _PROMPTS, "\n".join(lines) + "\n")
        bencher = _Bench(family, bench, folder.path)
        yield from recorded(folder.sink(), bencher.run(variants))


class _Bench:
    def __init__(self, family: str, bench: BenchConfig, folder: Path) -> None:
        self._family, self._bench, self._folder = family, bench, folder
        self._started = time.perf_counter()

    def run(self, variants: Sequence[Variant]) -> Generator[Event]:
        """The baseline first; then the others are measured beside it."""
        if self._bench.calibrate is not None:
            yield from self._calibrate(variants[0], self._bench.calibrate)
            variants = [_with_ratios(variant, self._bench.calibrate) for variant in variants]
        if not self._bench.own_process:
            yield Notice("All runs share this process: memory is what it held at most, whoever needed it.")
        taken = yield from self._measure(variants)
        exact = taken[variants[0].name]
        results = [
            result_of(
                variant, taken[variant.name], exact, compare(taken[variant.name][-1].clips, exact[-1].clips)
            )
            for variant in variants
        ]
        yield from self._tell(variants[0].config, results)

    def _measure(self, variants: Sequence[Variant]) -> Generator[Event, None, dict[str, list[RunTaken]]]:
        taken: dict[str, list[RunTaken]] = {variant.name: [] for variant in variants}
        total = len(variants) * self._bench.repeat
        yield StageStarted(_STAGE, total)
        for number in range(self._bench.repeat):
            # What comes first in a round finds another machine than what comes last.
            for variant in variants if number % 2 == 0 else reversed(variants):
                began = time.perf_counter()
                run = self._run(variant, self._folder / variant.name / f"round-{number + 1}")
                taken[variant.name].append(run)
                done = sum(map(len, taken.values()))
                yield StepDone(_STAGE, done, total, time.perf_counter() - began, run.device_peak)
        return taken

    def _run(self, variant: Variant, folder: Path) -> RunTaken:
        asked = told(variant, self._folder / _PROMPTS, folder)
        return (run_alone if self._bench.own_process else run_here)(self._family, asked)

    def _calibrate(self, exact: Variant, path: Path) -> Iterator[Event]:
        yield StageStarted("calibrate")
        execution = replace(exact.config.execution, step_cache_calibrate=path.absolute())
        config = replace(exact.config, execution=execution)
        self._run(Variant(name="calibration", config=config), self._folder / "calibration")
        yield FileSaved("ratios", str(path))

    def _tell(self, exact: GenerateConfig, results: Sequence[Result]) -> Iterator[Event]:
        report = {
            "family": self._family,
            "config": to_mapping(exact),
            "repeat": self._bench.repeat,
            "own_process": self._bench.own_process,
            "device": _device_name(exact.execution.device),
            "threads": torch.get_num_threads(),
            "versions": library_versions(),
            "results": [result.as_data() for result in results],
        }
        path = self._folder / REPORT
        write_text_atomic(path, json.dumps(report, indent=1, ensure_ascii=False) + "\n")
        yield FileSaved("report", str(path))
        yield ConsoleText(table_of(results))
        for result in results:
            yield from result.findings()
        yield Finished(({"report": str(path)},), time.perf_counter() - self._started)


def _with_ratios(variant: Variant, path: Path) -> Variant:
    """A run with magcache uses what was just measured."""
    execution = variant.config.execution
    if execution.step_cache != "magcache":
        return variant
    execution = replace(execution, step_cache_ratios=path.absolute(), step_cache_ratio_list=())
    return replace(variant, config=replace(variant.config, execution=execution))


def _device_name(name: str) -> str:
    device = choose_device(name)
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return platform.processor() or platform.machine()
