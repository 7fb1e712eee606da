"""A rough look at latents without decoding them: each cell's color by a linear fit."""

from collections.abc import Callable
from itertools import product

import torch
from torch import Tensor

_PATCH = 32
_LEVELS = (-1.0, 0.0, 1.0)


def fit_latent_colors(encode: Callable[[Tensor], Tensor]) -> Tensor:
    """The linear map from a latent cell to its color, fitted on patches of 27 plain colors.

    encode: pixels [27, 3, 1, 32, 32] in [-1, 1] to latents [27, C, 1, h, w]. Returns [C + 1, 3], the last row
    a constant.
    """
    colors = torch.tensor(list(product(_LEVELS, repeat=3)))
    pixels = colors[:, :, None, None, None].expand(-1, -1, 1, _PATCH, _PATCH)
    latents = encode(pixels).float().cpu()
    centers = latents[:, :, 0, latents.shape[3] // 2, latents.shape[4] // 2]
    return torch.linalg.lstsq(_with_constant(centers), colors, driver="gelsd").solution


def paint_latents(latents_CTHW: Tensor, colors: Tensor, *, num_frames: int = 3) -> Tensor:
    """A few evenly spaced latent frames side by side, uint8 [H, num_frames * W, 3]."""
    frames = (
        torch.linspace(0, latents_CTHW.shape[1] - 1, min(num_frames, latents_CTHW.shape[1])).round().long()
    )
    cells = latents_CTHW.float().cpu()[:, frames].permute(2, 1, 3, 0).flatten(1, 2)
    pixels = _with_constant(cells) @ colors
    return ((pixels / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)


def _with_constant(cells: Tensor) -> Tensor:
    return torch.cat([cells, torch.ones_like(cells[..., :1])], dim=-1)
