"""Rotary positions over time, height and width (RoFormer, arXiv 2104.09864, one axis per slice of a head)."""

from collections.abc import Sequence

import torch
from torch import Tensor

THETA = 10_000.0


def rotary_table(
    positions: Sequence[Tensor], axis_widths: Sequence[int], *, theta: float = THETA, pooled: int = 1
) -> Tensor:
    """Rotations for every point of a grid, as complex numbers.

    positions: one float vector per axis (t, y, x); axis_widths: how many channels of a head belong to each.
    With `pooled` k, a point stands for the mean rotation of k x k x k positions; such means are shorter than
    one. Returns complex64 [T*H*W, sum(axis_widths)/2] in token order (t, y, x).
    """
    axes = [
        _pool(_axis_rotations(axis, width, theta), pooled)
        for axis, width in zip(positions, axis_widths, strict=True)
    ]
    shape = [len(axis) for axis in axes]
    parts: list[Tensor] = []
    for index, axis in enumerate(axes):
        view = [1] * len(shape) + [axis.shape[1]]
        view[index] = shape[index]
        parts.append(axis.view(view).expand(*shape, axis.shape[1]))
    return torch.cat(parts, dim=-1).flatten(0, -2)


def _axis_rotations(positions: Tensor, width: int, theta: float) -> Tensor:
    """Unit rotations by geometrically falling frequencies, complex [len(positions), width/2]."""
    exponents = torch.arange(0, width, 2, dtype=torch.float32, device=positions.device) / width
    angles = positions.float()[:, None] * (1.0 / theta**exponents)
    return torch.polar(torch.ones_like(angles), angles)


def _pool(rotations_LK: Tensor, count: int) -> Tensor:
    """Means of `count` neighbors each, the last one repeated where they run out.

    A channel turns with one axis only, so the mean over a cube is the mean along that axis.
    """
    if count == 1:
        return rotations_LK
    length = len(rotations_LK)
    places = torch.arange(-(-length // count) * count, device=rotations_LK.device).clamp(max=length - 1)
    return rotations_LK[places].unflatten(0, (-1, count)).mean(1)


def rotate(heads_BNLK: Tensor, table_LK: Tensor) -> Tensor:
    """Turn adjacent channel pairs (a, b) by the table's angles. table: complex [L, K/2] or [B, 1, L, K/2]."""
    pairs = torch.view_as_complex(heads_BNLK.float().unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * table_LK).flatten(-2).to(heads_BNLK.dtype)


def prepend_unturned(table_LK: Tensor, count: int) -> Tensor:
    """A table for `count` more tokens in front, which have no place and are not turned."""
    return torch.cat([table_LK.new_ones(count, table_LK.shape[1]), table_LK])


def append_unturned(table_LK: Tensor, count: int) -> Tensor:
    """A table for `count` more tokens at the end, which have no place and are not turned."""
    return torch.cat([table_LK, table_LK.new_ones(*table_LK.shape[:-2], count, table_LK.shape[-1])], dim=-2)
