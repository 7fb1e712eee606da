"""Noise levels of training timesteps, and which of them a sampler visits."""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy
import torch
from torch import Tensor

from reelwright.diffusion.process import CLEAN, Level

Spacing = Literal["trailing", "leading", "linspace"]


class Step(NamedTuple):
    """One move of a sampler, from the level of `timestep` to the next level."""

    timestep: int
    level: Level
    next_level: Level


def scaled_linear_alphas(num_timesteps: int, beta_start: float, beta_end: float) -> Tensor:
    """Cumulative products of 1 - beta, with sqrt(beta) evenly spaced. float64 [num_timesteps]."""
    betas = torch.linspace(beta_start**0.5, beta_end**0.5, num_timesteps, dtype=torch.float64) ** 2
    return torch.cumprod(1.0 - betas, dim=0)


def shift_snr(alphas: Tensor, scale: float) -> Tensor:
    """Divide every signal-to-noise ratio by `scale`: more noise, for larger pictures."""
    return alphas / (scale + (1.0 - scale) * alphas)


def rescale_to_zero_terminal_snr(alphas: Tensor) -> Tensor:
    """Make the last level pure noise and keep the first (arXiv 2305.08891, algorithm 1)."""
    roots = alphas.sqrt()
    first, last = roots[0], roots[-1]
    return ((roots - last) * first / (first - last)) ** 2


def spaced_timesteps(
    num_steps: int, spacing: Spacing, *, num_timesteps: int = 1000, offset: int = 0
) -> list[int]:
    """Which training timesteps to visit, noisiest first. 1 <= num_steps <= num_timesteps."""
    if not 1 <= num_steps <= num_timesteps:
        raise ValueError(f"num_steps: {num_steps} is not in 1..{num_timesteps}.")
    if spacing == "trailing":
        # numpy's rounding decides ties as in the released schedulers, which list one too many at times.
        spaced = numpy.arange(num_timesteps, 0, -num_timesteps / num_steps)[:num_steps]
        return [int(t) - 1 for t in numpy.round(spaced)]
    if spacing == "leading":
        return [k * (num_timesteps // num_steps) + offset for k in reversed(range(num_steps))]
    last = num_timesteps - 1
    gap = last / (num_steps - 1) if num_steps > 1 else 0.0
    return [round(k * gap) for k in reversed(range(num_steps))]


def neighbor_steps(alphas: Tensor, timesteps: Sequence[int]) -> list[Step]:
    """Each timestep leads to the next one listed, the last to a clean clip."""
    levels = [_level(alphas, t) for t in timesteps]
    following = [*levels[1:], CLEAN]
    return [Step(*step) for step in zip(timesteps, levels, following, strict=True)]


def released_steps(alphas: Tensor, timesteps: Sequence[int], num_steps: int) -> list[Step]:
    """Each timestep leads to the one 1000 // num_steps below it, listed or not, as released."""
    stride = len(alphas) // num_steps
    return [Step(t, _level(alphas, t), _level(alphas, t - stride)) for t in timesteps]


def _level(alphas: Tensor, timestep: int) -> Level:
    if timestep < 0:
        return CLEAN
    alpha = alphas[timestep].item()
    return Level(math.sqrt(alpha), math.sqrt(1.0 - alpha))
