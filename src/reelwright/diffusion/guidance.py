"""Classifier-free guidance (arXiv 2207.12598) and how its scale changes over the steps."""

import math
from collections.abc import Sequence
from typing import Literal

from torch import Tensor

GuidanceSchedule = Literal["constant", "ramp", "legacy"]


def guide(negative: Tensor, positive: Tensor, scale: float) -> Tensor:
    """Move from the negative prediction past the positive one; scale 1 is the positive one."""
    return negative + scale * (positive - negative)


def rescale(guided: Tensor, positive: Tensor, factor: float) -> Tensor:
    """Bring the spread of `guided` back to that of `positive` (arXiv 2305.08891, 3.4).

    Spreads are per sample of the batch. factor in [0, 1]: 0 changes nothing, 1 gives exactly that spread.
    """
    if factor == 0.0:
        return guided
    inner = tuple(range(1, guided.dim()))
    ratio = positive.std(dim=inner, keepdim=True) / guided.std(dim=inner, keepdim=True)
    return factor * ratio * guided + (1.0 - factor) * guided


def guidance_scales(
    schedule: GuidanceSchedule, scale: float, timesteps: Sequence[float], num_steps: int
) -> list[float]:
    """The scale of each step; a scale of 1 or less turns guidance off.

    ramp rises smoothly from 1 to 1 + scale. legacy is what the released `use_dynamic_cfg` computes: it puts
    the training timestep (0..999) where the ramp has the step index, so the scale swings up and down.
    """
    if schedule == "constant" or scale <= 1.0:
        return [scale] * len(timesteps)
    progress = (
        [(num_steps - t) / num_steps for t in timesteps]
        if schedule == "legacy"
        else [index / num_steps for index in range(len(timesteps))]
    )
    return [1.0 + scale * (1.0 - math.cos(math.pi * p**5.0)) / 2.0 for p in progress]
