"""metrics.jsonl in the run folder: one line of JSON for each step, each validation and each alarm."""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from reelwright.core.events import Event, Measured
from reelwright.core.paths import cannot_read, cannot_write, write_text_atomic
from reelwright.workflows.training.setting import Moment, Setting, StepResult
from reelwright.workflows.training.statistics import LossCourse, level_middles

METRICS = "metrics.jsonl"
"""Within a run: what was measured, line by line."""
_SELDOM = 10
"""Steps between what is costly to measure, or too long to be told each time."""


class Metrics:
    """Writes down what each step came to and tells it; others add lines of their own.

    Lines of steps: step, epoch (done), loss, smoothed_loss, rates by group, gradient_norm, seconds,
    items_per_second, peak_memory (bytes), level_losses (running means by noise level in equal bins from 0 to
    1, null where nothing was yet), level_counts (items since the beginning), both of tasks that have noise
    levels, padding_waste (of packs), and what else the task tells; at each tenth step change, the norm of
    what was learned over that of the weights. Numbers that are not finite are null. Every line of a run in
    stages has the name of its `stage`.
    """

    def __init__(self, setting: Setting, stage: str = "") -> None:
        self._setting = setting
        self._named = {"stage": stage} if stage else {}
        self._path = setting.folder / METRICS
        self._course = LossCourse()
        self._step = -1
        self._is_begun = False
        self.change = math.nan
        """The last one that was measured."""

    @property
    def smoothed_loss(self) -> float:
        return self._course.smoothed_loss

    def __call__(self, moment: Moment) -> Iterator[Event]:
        if moment.result is None:
            return
        self._begin()
        self._step = moment.step
        self._course.add(moment.result)
        if is_seldom := moment.step == 1 or moment.step % _SELDOM == 0:
            self.change = self._setting.trainables.change()
        values = _step_values(moment.result, self._course)
        if is_seldom:
            values["change"] = self.change
        self._write_step(moment, moment.result, values)
        told = {**values, **_rates(moment.result), **(_by_level(self._course) if is_seldom else {})}
        yield self.tell(moment, told)

    def tell(self, moment: Moment, values: Mapping[str, float]) -> Measured:
        """Numbers for the trackers, and the event that says them; what nobody knows, NaN, is left out."""
        known = {name: value for name, value in values.items() if not math.isnan(value) or name == "loss"}
        self._setting.accelerator.log(known, step=moment.step)
        return Measured(moment.step, moment.num_steps, known)

    def write(self, line: Mapping[str, Any]) -> None:
        """Append a line, whole and at once; on the main process only. Raises FileError."""
        if not self._setting.is_main:
            return
        self._begin()
        text = json.dumps(_as_json({**line, **self._named}), ensure_ascii=False, allow_nan=False)
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(text + "\n")
        except OSError as error:
            raise cannot_write(self._path, error) from error

    def state(self) -> dict[str, Any]:
        change = None if math.isnan(self.change) else self.change
        return {"step": self._step, "course": self._course.state(), "change": change}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._course.restore(state["course"])
        self._step = state["step"]
        self.change = math.nan if state["change"] is None else state["change"]

    def _begin(self) -> None:
        """Cut off what an earlier try of this run told of steps that are done again."""
        if self._is_begun:
            return
        self._is_begun = True
        if self._setting.is_main and self._path.exists():
            cut_lines_after(self._path, self._step)

    def _write_step(self, moment: Moment, result: StepResult, values: Mapping[str, float]) -> None:
        counts = self._course.level_counts
        levels = {"level_losses": self._course.level_losses, "level_counts": counts} if any(counts) else {}
        self.write(
            {
                "step": moment.step,
                "epoch": moment.epoch,
                **values,
                "rates": dict(result.rates),
                **levels,
            }
        )


def cut_lines_after(path: Path, step: int) -> None:
    """Keep the lines of steps up to `step`, all at once; what is no whole line goes too. Raises FileError."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise cannot_read(path, error) from error
    kept = [line for line in lines if _step_of(line) <= step]
    write_text_atomic(path, "".join(f"{line}\n" for line in kept))


def _step_of(line: str) -> float:
    """Of a line that is broken, infinity."""
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return math.inf


def _step_values(result: StepResult, course: LossCourse) -> dict[str, float]:
    return {
        "loss": result.loss,
        "smoothed_loss": course.smoothed_loss,
        "gradient_norm": result.gradient_norm,
        "seconds": result.seconds,
        "items_per_second": result.num_items / result.seconds if result.seconds else math.nan,
        "peak_memory": result.peak_memory,
        **({} if result.padding_waste is None else {"padding_waste": result.padding_waste}),
        **result.parts,
    }


def _rates(result: StepResult) -> dict[str, float]:
    """The highest learning rate; that of each group too where there are several."""
    named = {f"rate/{name}": rate for name, rate in result.rates.items()} if len(result.rates) > 1 else {}
    return {"rate": max(result.rates.values(), default=math.nan), **named}


def _by_level(course: LossCourse) -> dict[str, float]:
    losses = course.level_losses
    return {f"loss_at/{level}": loss for level, loss in zip(level_middles(len(losses)), losses, strict=True)}


def _as_json(value: Any) -> Any:  # noqa: ANN401 - whatever a line holds
    match value:
        case float() if not math.isfinite(value):
            return None
        case Mapping():
            return {name: _as_json(each) for name, each in value.items()}
        case list() | tuple():
            return [_as_json(each) for each in value]
        case _:
            return value
