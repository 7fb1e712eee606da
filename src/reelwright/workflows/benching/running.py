"""One run of `generate`, in this process or in one of its own."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from reelwright.core.config import read_recipe, to_toml
from reelwright.core.errors import UserError
from reelwright.core.events import ClipFinished, Event, Failed, Notice, StepDone, to_json
from reelwright.core.paths import write_text_atomic
from reelwright.protocols.configs import GenerateConfig
from reelwright.workflows import generate
from reelwright.workflows.benching.watching import RunTaken, RunWatch, watched

_EVENTS: Mapping[str, Callable[..., Event]] = {
    "step_done": StepDone,
    "clip_finished": ClipFinished,
    "notice": Notice,
    "failed": Failed,
}


def run_here(family: str, config: GenerateConfig) -> RunTaken:
    """Make the clips in this process, whose memory then counts whole."""
    taken = watched(generate.run(family, config))
    taken.host_peak = _peak_of_process("self")
    return taken


def run_alone(family: str, config: GenerateConfig) -> RunTaken:
    """Make the clips in a process of its own, which then is gone. Raises UserError with what it said."""
    assert config.run is not None
    recipe = config.run.with_suffix(".toml")
    recipe.parent.mkdir(parents=True, exist_ok=True)
    write_text_atomic(recipe, to_toml(config, {"workflow": "generate", "family": family}))
    watch, peak, said = RunWatch(), 0, ""
    with subprocess.Popen(
        _command(family, recipe), stdout=subprocess.PIPE, text=True, encoding="utf-8"
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                event = _read(line)
                peak = max(peak, _peak_of_process(str(process.pid)))
                if isinstance(event, Failed):
                    said = event.message
                elif event is not None:
                    watch(event)
        finally:
            process.kill()
    if said or not watch.taken.clips:
        raise UserError(said or f"{recipe}: the run ended early, with exit code {process.returncode}.")
    watch.taken.host_peak = peak
    return watch.taken


def _command(family: str, recipe: Path) -> list[str]:
    return [sys.executable, "-m", __name__, family, str(recipe)]


def _read(line: str) -> Event | None:
    """An event that matters here; None for others, and for what libraries write between them."""
    try:
        data: Any = json.loads(line)
        make = _EVENTS.get(data.pop("event", ""))
    except (ValueError, AttributeError):
        return None
    return None if make is None else make(**data)


def _peak_of_process(name: str) -> int:
    """Most bytes that a process held so far; 0 where the system does not tell."""
    try:
        status = Path(f"/proc/{name}/status").read_text(encoding="ascii")
    except OSError:
        return 0
    peak = status.partition("VmHWM:")[2].split()
    return int(peak[0]) * 1024 if peak else 0


def _events(family: str, recipe: Path) -> Iterator[Event]:
    from reelwright import families  # noqa: PLC0415 - the process of a run alone needs it

    schema: type[GenerateConfig] = families.configs(family).GENERATE
    try:
        yield from generate.run(family, read_recipe(recipe, schema))
    except (UserError, RuntimeError, MemoryError) as error:
        yield Failed(type(error).__name__, str(error))


if __name__ == "__main__":
    for told in _events(sys.argv[1], Path(sys.argv[2])):
        sys.stdout.write(json.dumps(to_json(told)) + "\n")
        sys.stdout.flush()
