"""Sinusoidal embeddings of time and place."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def sinusoidal_embedding(values_B: Tensor, width: int) -> Tensor:
    """Embed scalars as [cos | sin] of geometrically falling frequencies (DDPM), float32 [B, width]."""
    half = width // 2
    indices = torch.arange(half, dtype=torch.float32, device=values_B.device)
    angles = values_B.float()[:, None] * torch.exp(-math.log(10_000) * indices / half)
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def sincos_position_table(
    width: int,
    grid_THW: Sequence[int],
    *,
    spatial_scale: float = 1.0,
    temporal_scale: float = 1.0,
    places_HW: Sequence[Tensor] | None = None,
) -> Tensor:
    """Absolute positions of a video grid: a quarter of the width for time, the rest for place.

    places_HW: where the rows and the columns are, instead of 0, 1, 2, ...

    Tokens are ordered (t, y, x); the spatial part is [x half | y half]; each part is [sin | cos].
    Positions are divided by their scale first. Returns float32 [T*H*W, width].
    """
    frames = torch.arange(grid_THW[0], dtype=torch.float64)
    rows, columns = places_HW or [torch.arange(count) for count in grid_THW[1:]]
    time_width, place_width = width // 4, 3 * width // 4 // 2
    t, y, x = torch.meshgrid(
        frames / temporal_scale,
        rows.double() / spatial_scale,
        columns.double() / spatial_scale,
        indexing="ij",
    )
    parts = [_sincos(t, time_width), _sincos(x, place_width), _sincos(y, place_width)]
    return torch.cat(parts, dim=-1).float()


def _sincos(positions: Tensor, width: int) -> Tensor:
    half = width // 2
    frequencies = 10_000.0 ** (-torch.arange(half, dtype=torch.float64) / half)
    angles = positions.flatten()[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


class ScalarEmbedding(nn.Module):
    """A scalar (timestep, motion strength) as a vector: sinusoid, linear, SiLU, linear."""

    def __init__(self, sinusoid_width: int, output_width: int) -> None:
        super().__init__()
        self.sinusoid_width = sinusoid_width
        self.linear_1 = nn.Linear(sinusoid_width, output_width)
        self.linear_2 = nn.Linear(output_width, output_width)

    def forward(self, values_B: Tensor) -> Tensor:
        embedding = sinusoidal_embedding(values_B, self.sinusoid_width).to(self.linear_1.weight.dtype)
        return self.linear_2(F.silu(self.linear_1(embedding)))
