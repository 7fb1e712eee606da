"""Where the blocks and the modulations of a denoiser are."""

from collections.abc import Sequence

from torch import nn


def stacks_of(denoiser: nn.Module) -> Sequence[nn.ModuleList]:
    """What `Denoiser.stacks` says, of a network that is only known as a module."""
    stacks: Sequence[nn.ModuleList] = getattr(denoiser, "stacks", ())
    return stacks


def modulations_of(denoiser: nn.Module) -> Sequence[nn.Module]:
    """What `Denoiser.modulations` says, of a network that is only known as a module."""
    modulations: Sequence[nn.Module] = getattr(denoiser, "modulations", ())
    return modulations
