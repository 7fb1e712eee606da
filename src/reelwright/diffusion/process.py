"""How noise and signal mix, and what a network predicts about the mixture."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor


class Level(NamedTuple):
    """A noise level: x = alpha * x0 + sigma * noise."""

    alpha: float
    sigma: float

    @property
    def half_log_snr(self) -> float:
        """ln(alpha / sigma): -inf for pure noise, +inf for a clean clip."""
        if self.alpha == 0.0:
            return -math.inf
        return math.inf if self.sigma == 0.0 else math.log(self.alpha / self.sigma)


CLEAN = Level(1.0, 0.0)


def add_noise(x0: Tensor, noise: Tensor, level: Level) -> Tensor:
    return level.alpha * x0 + level.sigma * noise


@dataclass(frozen=True)
class NoiseProcess:
    """What the network's output means at a noise level."""

    predict_x0: Callable[[Tensor, Tensor, Level], Tensor]
    """(noisy latents, prediction, level) -> clean latents."""
    target: Callable[[Tensor, Tensor, Level], Tensor]
    """(clean latents, noise, level) -> what the network should predict."""


V_PREDICTION = NoiseProcess(
    predict_x0=lambda noisy, velocity, level: level.alpha * noisy - level.sigma * velocity,
    target=lambda x0, noise, level: level.alpha * noise - level.sigma * x0,
)
"""Progressive distillation's velocity (arXiv 2202.00512), on a variance-preserving process."""

FLOW = NoiseProcess(
    predict_x0=lambda noisy, velocity, level: noisy - level.sigma * velocity,
    target=lambda x0, noise, level: noise - x0,
)
"""Rectified flow (arXiv 2209.03003): levels are (1 - sigma, sigma); velocity leads from data to noise."""
