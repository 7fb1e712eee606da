"""How a training goes, as its run folder tells: numbers by step, samples by step, what is saved."""

import json
import math
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

METRICS = "metrics.jsonl"
STOP = "stop"
"""A file of this name in a run folder has the run save and end."""
SAVE = "save"
"""A file of this name has it save and go on."""

Point = tuple[int, float]


@dataclass
class TrainingLog:
    """Reads metrics.jsonl as it grows; each `refresh` reads only what is new.

    A run that goes on from a state cuts the file off; then all is read again.
    """

    run: Path
    points: dict[str, list[Point]] = field(default_factory=dict[str, list[Point]])
    """Name of a number -> (step, value) in order."""
    alarms: list[str] = field(default_factory=list[str])
    _offset: int = 0

    def refresh(self) -> bool:
        """Read what is new; whether there was anything."""
        try:
            with (self.run / METRICS).open("rb") as file:
                size = file.seek(0, 2)
                if size < self._offset:
                    self.points, self.alarms, self._offset = {}, [], 0
                file.seek(self._offset)
                new = file.read()
        except OSError:
            return False
        whole = new[: new.rfind(b"\n") + 1]
        self._offset += len(whole)
        for line in whole.splitlines():
            with suppress(ValueError, TypeError):
                self._take(json.loads(line))
        return bool(whole)

    def latest(self, name: str) -> float | None:
        """The last value of a number."""
        found = self.points.get(name)
        return found[-1][1] if found else None

    @property
    def step(self) -> int:
        """The last step that is told of."""
        return max((points[-1][0] for points in self.points.values()), default=0)

    def _take(self, line: dict[str, Any]) -> None:
        if "alarm" in line:
            self.alarms.append(str(line.get("message", line["alarm"])))
            return
        step = int(line.get("step", 0))
        for name, value in line.items():
            if name != "step" and isinstance(value, int | float) and math.isfinite(value):
                self._add(name, (step, float(value)))

    def _add(self, name: str, point: Point) -> None:
        points = self.points.setdefault(name, [])
        while points and points[-1][0] >= point[0]:  # the run went on from an earlier state
            points.pop()
        points.append(point)


@dataclass(frozen=True, kw_only=True)
class SampleSheet:
    """Pictures of the samples made after a step."""

    step: int
    """0 is the model as it was before."""
    pictures: tuple[Path, ...]
    clips: tuple[Path, ...]


def list_samples(run: Path) -> tuple[SampleSheet, ...]:
    """The samples of a run, the newest first."""
    folders = [run / "samples" / "untrained", *sorted((run / "samples").glob("step-*"))]
    sheets = [_sheet(folder) for folder in folders if folder.is_dir()]
    return tuple(sorted((each for each in sheets if each.pictures), key=lambda each: -each.step))


def weights_of(run: Path) -> tuple[Path, ...]:
    """What a training has saved for use, the newest last."""
    return tuple(sorted(run.glob("*.safetensors"), key=lambda path: path.stat().st_mtime))


def ask_to_stop(run: Path) -> None:
    """Have the run save weights and state, and end."""
    (run / STOP).touch()


def is_asked_to_stop(run: Path) -> bool:
    """Whether the run has not heeded yet that it is to end."""
    return (run / STOP).exists()


def take_back_stop(run: Path) -> None:
    """Leave no wish of before to a run that goes on: it would end after one step."""
    (run / STOP).unlink(missing_ok=True)


def _sheet(folder: Path) -> SampleSheet:
    digits = folder.name.removeprefix("step-")
    beside = folder / "beside.png"
    pictures = [beside] if beside.is_file() else sorted(folder.glob("*.png"))
    return SampleSheet(
        step=int(digits) if digits.isdecimal() else 0,
        pictures=tuple(pictures),
        clips=tuple(sorted(folder.glob("*.mp4"))),
    )
