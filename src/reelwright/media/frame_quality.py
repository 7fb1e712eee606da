"""How near frames are to those that they should be. All take values [C, F, H, W] in [0, 1]."""

import torch
from torch import Tensor
from torch.nn import functional as F

_BEST_PSNR = 100.0
"""Decibels of frames that are equal, which have no noise at all."""
_WINDOW, _SIGMA = 11, 1.5
_C1, _C2 = 0.01**2, 0.03**2
"""As in Wang et al. 2004, for values up to 1."""


def psnr(frames_CFHW: Tensor, copies_CFHW: Tensor) -> float:
    """Peak signal-to-noise ratio in decibels, over all values together; at most 100."""
    error = float((frames_CFHW.double() - copies_CFHW.double()).square().mean())
    return min(-10.0 * float(torch.tensor(error, dtype=torch.float64).log10()), _BEST_PSNR)


def ssim(frames_CFHW: Tensor, copies_CFHW: Tensor) -> float:
    """Structural similarity (Wang et al. 2004), as a mean over frames, channels and places; 1 for equal ones.

    Windows are Gaussian, 11 x 11, and lie inside of the frame. Raises ValueError for smaller frames.
    """
    if min(frames_CFHW.shape[-2:]) < _WINDOW:
        raise ValueError(
            f"frames of {tuple(frames_CFHW.shape[-2:])} are smaller than the window of {_WINDOW}"
        )
    first, second = (each.double().flatten(0, 1).unsqueeze(1) for each in (frames_CFHW, copies_CFHW))
    products = torch.cat([first, second, first * first, second * second, first * second])
    mean_1, mean_2, square_1, square_2, both = _windowed(products).chunk(5)
    variances = (square_1 - mean_1**2) + (square_2 - mean_2**2)
    covariance = both - mean_1 * mean_2
    top = (2 * mean_1 * mean_2 + _C1) * (2 * covariance + _C2)
    return float((top / ((mean_1**2 + mean_2**2 + _C1) * (variances + _C2))).mean())


def flicker(frames_CFHW: Tensor, copies_CFHW: Tensor) -> float:
    """How much of the change from frame to frame was not in the original, or is missing.

    The mean absolute difference of adjacent frames' differences (arXiv 2408.06072); 0 for single frames.
    """
    if frames_CFHW.shape[1] < 2:
        return 0.0
    return float((copies_CFHW.double().diff(dim=1) - frames_CFHW.double().diff(dim=1)).abs().mean())


def _windowed(pictures_B1HW: Tensor) -> Tensor:
    """Gaussian means of each place whose window lies inside."""
    places = torch.arange(_WINDOW, dtype=pictures_B1HW.dtype, device=pictures_B1HW.device) - _WINDOW // 2
    weights = torch.exp(-places.square() / (2 * _SIGMA**2))
    weights = weights / weights.sum()
    return F.conv2d(F.conv2d(pictures_B1HW, weights.view(1, 1, 1, -1)), weights.view(1, 1, -1, 1))
