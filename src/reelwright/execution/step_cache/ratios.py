"""How the magnitude of what the blocks add grows from step to step: kept in a file, fitted to a run."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from reelwright.checkpoint.settings_files import read_json, write_json
from reelwright.core.errors import FileError
from reelwright.execution.policy import Branch

_ADVICE = "Make it with --execution.step-cache-calibrate."


@dataclass(frozen=True, kw_only=True)
class MagnitudeRatios:
    """One ratio for each step, and where it was measured apart, others for the negative prompt."""

    positive: Sequence[float]
    negative: Sequence[float] = ()

    def at_steps(self, branch: Branch, num_steps: int) -> list[float]:
        """Those of a run of so many steps: at each the nearest one that is known."""
        positive = resample(self.positive, num_steps)
        negative = resample(self.negative or self.positive, num_steps)
        if branch == "both":
            return [(first + second) / 2 for first, second in zip(positive, negative, strict=True)]
        return positive if branch == "positive" else negative


def resample(values: Sequence[float], count: int) -> list[float]:
    """So many of the values, first and last among them, by the nearest index."""
    scale = (len(values) - 1) / max(count - 1, 1)
    return [values[round(index * scale)] for index in range(count)]


def read_ratios(path: Path) -> MagnitudeRatios:
    """Raises FileError."""
    lists: Any = read_json(path, _ADVICE).get("ratios")
    if not isinstance(lists, Mapping):
        raise FileError(f"{path}: holds no table of ratios. {_ADVICE}")
    known = {
        str(branch): _checked(path, values) for branch, values in cast("Mapping[Any, Any]", lists).items()
    }
    if "positive" not in known or known.keys() - {"positive", "negative"}:
        raise FileError(
            f"{path}: ratios are of positive and negative passes, not of {', '.join(known)}. {_ADVICE}"
        )
    return MagnitudeRatios(**known)


def write_ratios(path: Path, ratios: MagnitudeRatios) -> None:
    """Raises FileError where the disk refuses."""
    lists = {"positive": ratios.positive, "negative": ratios.negative}
    rounded = {branch: [round(value, 6) for value in values] for branch, values in lists.items() if values}
    write_json(path, {"steps": len(ratios.positive), "ratios": rounded})


def _checked(path: Path, values: object) -> tuple[float, ...]:
    numbers = cast("list[object]", values) if isinstance(values, list) else []
    ratios = [float(each) for each in numbers if isinstance(each, int | float)]
    if not numbers or len(ratios) < len(numbers) or not all(0 < each < math.inf for each in ratios):
        raise FileError(f"{path}: ratios are lists of numbers above 0. {_ADVICE}")
    return tuple(ratios)
