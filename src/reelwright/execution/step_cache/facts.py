"""What a step cache must know of a model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class StepCacheFacts:
    """Of one model; a family makes it from the sizes of the network."""

    signal: Callable[..., Tensor]
    """(network, then all that the trunk is given) -> what changes from step to step as the result does, and
    is cheap to come by (arXiv 2411.19108)."""
    polynomial: tuple[float, ...] | None = None
    """From the relative change of the signal to that of the result, highest power first; None where it was
    never fitted."""
    polynomial_threshold: float = 0.15
    """How much change to leave out where there is a polynomial."""
    ratios: Sequence[float] | None = None
    """How the magnitude of what the blocks add grows from one step to the next (arXiv 2506.09045), over any
    number of steps; None where nobody measured."""
    ratios_are_own: bool = True
    """Whether they were measured on a model of these sizes."""
