"""What the ways to run a denoiser must know of it that its network does not tell."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from reelwright.execution.step_cache.facts import StepCacheFacts


@dataclass(frozen=True, kw_only=True)
class DenoiserFacts:
    """Of a family's denoisers; each family has one value."""

    is_quantized: Callable[[str], bool]
    """Whether a linear layer of a block, by its name in the network, may be held in few bits."""
    step_cache: Callable[[nn.Module], StepCacheFacts]
    """What is known of a network for leaving out steps."""
