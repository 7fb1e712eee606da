"""Numbers that settle slowly, made of those of single steps, which jump with the noise that was drawn."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from reelwright.workflows.training.setting import StepResult

_STEPS_REMEMBERED = 50
"""A step counts a third when so many have come after it."""
_ITEMS_REMEMBERED = 200
"""The same of items in one bin of noise levels."""


class RunningMean:
    """A mean in which what came long ago counts little; true from the first value on."""

    def __init__(self, remembered: float) -> None:
        self._remembered = remembered
        self._sum = 0.0
        self._weight = 0.0

    @property
    def mean(self) -> float:
        """NaN before the first value."""
        return self._sum / self._weight if self._weight else math.nan

    def add(self, total: float, count: int = 1) -> None:
        """Take in `count` values that come to `total`; those that are no finite numbers are left out."""
        if count == 0 or not math.isfinite(total):
            return
        kept = math.exp(-count / self._remembered)
        self._sum = kept * self._sum + total
        self._weight = kept * self._weight + count

    def state(self) -> list[float]:
        return [self._sum, self._weight]

    def restore(self, state: Sequence[float]) -> None:
        self._sum, self._weight = state


class LossCourse:
    """How the loss goes: on average, and for each bin of noise levels, of which every step draws others."""

    def __init__(self) -> None:
        self._loss = RunningMean(_STEPS_REMEMBERED)
        self._levels: list[RunningMean] = []
        self.level_counts: list[int] = []
        """Items that were in each bin since the run began."""

    @property
    def smoothed_loss(self) -> float:
        return self._loss.mean

    @property
    def level_losses(self) -> list[float]:
        """The mean unweighted error of each bin in equal parts from 0 to 1; NaN where nothing was yet."""
        return [level.mean for level in self._levels]

    def add(self, result: StepResult) -> None:
        """Take in a step."""
        self._fit(len(result.level_counts))
        self._loss.add(result.loss)
        for index, (total, count) in enumerate(zip(result.level_losses, result.level_counts, strict=True)):
            self._levels[index].add(total, count)
            self.level_counts[index] += count

    def state(self) -> dict[str, Any]:
        return {
            "loss": self._loss.state(),
            "levels": [level.state() for level in self._levels],
            "level_counts": list(self.level_counts),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self._loss.restore(state["loss"])
        self._fit(len(state["levels"]))
        for level, kept in zip(self._levels, state["levels"], strict=True):
            level.restore(kept)
        self.level_counts = list(state["level_counts"])

    def _fit(self, num_bins: int) -> None:
        if len(self._levels) != num_bins:
            self._levels = [RunningMean(_ITEMS_REMEMBERED) for _ in range(num_bins)]
            self.level_counts = [0] * num_bins


def level_middles(num_bins: int) -> list[str]:
    """The noise level in the middle of each bin, in words: 0.05, 0.15, ..."""
    return [f"{(index + 0.5) / num_bins:.4g}" for index in range(num_bins)]
