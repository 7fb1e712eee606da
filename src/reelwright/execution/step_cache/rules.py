"""When a step changes little: three ways to tell, each for one branch of one run."""

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor


class Rule(Protocol):
    """Follows the steps of a branch: asked about those that may be left out, told of those computed."""

    def change(self, step: int, seen: Tensor | None) -> float:
        """How much changed since the last computed step, this one included. Asked once in a step."""
        ...

    def computed(self, seen: Tensor | None) -> None:
        """The step is computed: change is counted from here."""
        ...


class MagnitudeRule:
    """The error of adding again what was added before, as the known growth of its magnitude tells
    (MagCache, arXiv 2506.09045)."""

    def __init__(self, ratios: Sequence[float]) -> None:
        """`ratios`: of each step of the run to the one before."""
        self._ratios = ratios
        self._product, self._error = 1.0, 0.0

    def change(self, step: int, seen: Tensor | None) -> float:
        self._product *= self._ratios[step]
        self._error += abs(1.0 - self._product)
        return self._error

    def computed(self, seen: Tensor | None) -> None:
        self._product, self._error = 1.0, 0.0


class SignalRule:
    """The change of a signal that the result follows, by a fitted polynomial (TeaCache, arXiv 2411.19108)."""

    def __init__(self, polynomial: Sequence[float]) -> None:
        """`polynomial`: highest power first."""
        self._polynomial = polynomial
        self._before: Tensor | None = None
        self._sum = 0.0

    def change(self, step: int, seen: Tensor | None) -> float:
        assert seen is not None and self._before is not None, "the first step is always computed"
        value = 0.0
        distance = _relative_distance(seen, self._before)
        for coefficient in self._polynomial:
            value = value * distance + coefficient
        self._sum += abs(value)
        self._before = seen
        return self._sum

    def computed(self, seen: Tensor | None) -> None:
        self._before, self._sum = seen, 0.0


class ResidualRule:
    """The change of what the first block adds (first-block cache)."""

    def __init__(self) -> None:
        self._computed: Tensor | None = None

    def change(self, step: int, seen: Tensor | None) -> float:
        assert seen is not None and self._computed is not None, "the first step is always computed"
        return _relative_distance(seen, self._computed)

    def computed(self, seen: Tensor | None) -> None:
        self._computed = seen


def _relative_distance(values: Tensor, before: Tensor) -> float:
    """Mean absolute difference over the mean absolute value before."""
    difference = (values.float() - before.float()).abs().mean()
    return float(difference / before.float().abs().mean())
