"""What the error of a training item counts, by its noise level."""

import math

from reelwright.diffusion.noise_settings import Weighting

_LEAST_LEVEL = 1e-3
"""No released schedule has a lower one; its weight would be without bound."""


def loss_weight(weighting: Weighting, level: float) -> float:
    """What the mean squared error of a flow at this level, 0 to 1, is multiplied by.

    sigma_sqrt: 1 / t^2. cosmap: 2 / (pi (1 - 2t + 2t^2)), whose mean over all levels is 1 (arXiv 2403.03206,
    3.1). The others say which levels are drawn, and weight none.
    """
    match weighting:
        case "sigma_sqrt":
            return max(level, _LEAST_LEVEL) ** -2
        case "cosmap":
            return 2.0 / (math.pi * (1.0 - 2.0 * level + 2.0 * level**2))
        case _:
            return 1.0
