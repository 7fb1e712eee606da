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

    timestep: float
    """What the network is told: a whole number where levels are those of training timesteps."""
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


def level_at(alphas: Tensor, timestep: int) -> Level:
    """The level of a training timestep, whose squared signal share is listed; below 0 a clean clip."""
    if timestep < 0:
        return CLEAN
    alpha = alphas[timestep].item()
    return Level(math.sqrt(alpha), math.sqrt(1.0 - alpha))


def neighbor_steps(alphas: Tensor, timesteps: Sequence[int]) -> list[Step]:
    """Each timestep leads to the next one listed, the last to a clean clip."""
    levels = [level_at(alphas, t) for t in timesteps]
    following = [*levels[1:], CLEAN]
    return [Step(*step) for step in zip(timesteps, levels, following, strict=True)]


def released_steps(alphas: Tensor, timesteps: Sequence[int], num_steps: int) -> list[Step]:
    """Each timestep leads to the one 1000 // num_steps below it, listed or not, as released."""
    stride = len(alphas) // num_steps
    return [Step(t, level_at(alphas, t), level_at(alphas, t - stride)) for t in timesteps]


def shift_of_tokens(num_tokens: int) -> float:
    """How far a flow's levels lean to the noisy end for so many latent tokens of one call.

    The logarithm is a line through 0.5 at 256 tokens and 1.15 at 4096; the shift is 7 at most.
    """
    slope = (1.15 - 0.5) / (4096 - 256)
    return min(math.exp(0.5 + slope * (num_tokens - 256)), 7.0)


def flow_steps(num_steps: int, shift: float, *, strength: float = 1.0) -> list[Step]:
    """Steps of a flow from noise to a clean clip, evenly spaced before the shift; timesteps are 1000 sigma.

    num_steps >= 1, shift > 0. strength in (0, 1] multiplies every sigma: 1 starts from pure noise, less from
    an initial clip that is noised to the first level.
    """
    if num_steps < 1:
        raise ValueError(f"num_steps: {num_steps} is not 1 or more.")
    if shift <= 0.0:
        raise ValueError(f"shift: {shift} is not positive.")
    if not 0.0 < strength <= 1.0:
        raise ValueError(f"strength: {strength} is not in (0, 1].")
    spaced = [(num_steps - k) / num_steps for k in range(num_steps)]
    sigmas = [strength * shift * s / (shift * s + (1.0 - s)) for s in spaced]
    levels = [Level(1.0 - sigma, sigma) for sigma in sigmas]
    following = [*levels[1:], CLEAN]
    return [Step(1000.0 * sigma, *move) for sigma, *move in zip(sigmas, levels, following, strict=True)]


def with_unit_signal(steps: Sequence[Step]) -> list[Step]:
    """The steps of a flow for a solver that counts in -ln sigma.

    (1 - sigma) x0 + sigma noise is also x0 + sigma velocity. Seen so, the velocity is the noise and the share
    of x0 is 1 at every level; x - sigma velocity is x0 either way, and so is the exact path. What differs is
    the variable in which a solver of higher order extrapolates, and that no level is infinitely far away.
    Stochastic solvers need the true shares: fresh noise is not a velocity.
    """
    return [
        Step(step.timestep, Level(1.0, step.level.sigma), Level(1.0, step.next_level.sigma)) for step in steps
    ]
