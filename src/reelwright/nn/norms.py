"""Normalization, split into its statistics and the scale and shift that apply them."""

import torch
from torch import Tensor, nn


def group_norm_affine(frames_BCFHW: Tensor, norm: nn.GroupNorm) -> tuple[Tensor, Tensor]:
    """The scale and shift, each [B, C, 1, 1, 1], with which group norm is frames * scale + shift.

    Means and squares are taken row by row first, which keeps float32 sums short. Where a group's mean is ten
    times its deviation, its variance is still right to 5e-6.
    """
    batch, channels = frames_BCFHW.shape[:2]
    rows = frames_BCFHW.reshape(batch, norm.num_groups, -1, frames_BCFHW.shape[-1])
    length, dtype = rows.shape[-1], torch.promote_types(rows.dtype, torch.float32)
    row_means = rows.sum(-1, dtype=dtype) / length
    row_squares = torch.linalg.vector_norm(rows, dim=-1, dtype=dtype).square() / length
    mean = row_means.mean(-1)
    variance = (row_squares - row_means.square()).mean(-1) + row_means.var(-1, correction=0)
    rate = torch.rsqrt(variance.clamp_min(0.0) + norm.eps)

    def per_channel(groups_BG: Tensor) -> Tensor:
        return groups_BG.repeat_interleave(channels // norm.num_groups, dim=1)

    scale = per_channel(rate) * norm.weight
    shift = norm.bias - per_channel(mean) * scale
    shape = (batch, channels, 1, 1, 1)
    return scale.view(shape).to(frames_BCFHW.dtype), shift.view(shape).to(frames_BCFHW.dtype)
