"""Rotary positions over time, height and width (RoFormer, arXiv 2104.09864, one axis per slice of a head)."""

from collections.abc import Sequence

import torch
from torch import Tensor

THETA = 10_000.0


def rotary_table(positions: Sequence[Tensor], axis_widths: Sequence[int]) -> Tensor:
    """Unit rotations for every point of a grid, as complex numbers.

    positions: one float vector per axis (t, y, x); axis_widths: how many channels of a head belong to each.
    Returns complex64 [T*H*W, sum(axis_widths)/2] in token order (t, y, x).
    """
    shape = [len(axis) for axis in positions]
    parts: list[Tensor] = []
    for index, (axis, width) in enumerate(zip(positions, axis_widths, strict=True)):
        exponents = torch.arange(0, width, 2, dtype=torch.float32) / width
        angles = axis.float()[:, None] * (1.0 / THETA**exponents)
        view = [1] * len(shape) + [width // 2]
        view[index] = shape[index]
        parts.append(angles.view(view).expand(*shape, width // 2))
    angles = torch.cat(parts, dim=-1).flatten(0, -2)
    return torch.polar(torch.ones_like(angles), angles)


def rotate(heads_BNLK: Tensor, table_LK: Tensor) -> Tensor:
    """Turn adjacent channel pairs (a, b) by the table's angles. table: complex [L, K/2]."""
    pairs = torch.view_as_complex(heads_BNLK.float().unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * table_LK).flatten(-2).to(heads_BNLK.dtype)


def prepend_unturned(table_LK: Tensor, count: int) -> Tensor:
    """A table for `count` more tokens in front, which have no place and are not turned."""
    return torch.cat([table_LK.new_ones(count, table_LK.shape[1]), table_LK])
