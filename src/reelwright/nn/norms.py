"""Normalization, split into its statistics and the scale and shift that apply them."""

import torch
from torch import Tensor, nn


def group_norm_affine(
    frames_BCFHW: Tensor, norm: nn.GroupNorm, *, rounded: bool = True
) -> tuple[Tensor, Tensor]:
    """The scale and shift, each [B, C, 1, 1, 1], with which group norm is frames * scale + shift.

    They have the number format of the frames if `rounded`, else at least float32.
    Means and squares are taken row by row first (frame by frame, where channels lie innermost), which keeps
    float32 sums short. Where a group's mean is ten times its deviation, its variance is still right to 5e-6.
    """
    batch, channels = frames_BCFHW.shape[:2]
    frames_BFHWC = frames_BCFHW.permute(0, 2, 3, 4, 1)
    channels_innermost = frames_BFHWC.stride(-1) == 1 and not frames_BCFHW.is_contiguous()
    if channels_innermost:
        row_means, row_squares = _moments_of_frames(frames_BFHWC, norm.num_groups)
    else:
        row_means, row_squares = _moments_of_rows(frames_BCFHW, norm.num_groups)
    mean = row_means.mean(-1)
    variance = (row_squares - row_means.square()).mean(-1) + row_means.var(-1, correction=0)
    rate = torch.rsqrt(variance.clamp_min(0.0) + norm.eps)

    def per_channel(groups_BG: Tensor) -> Tensor:
        return groups_BG.repeat_interleave(channels // norm.num_groups, dim=1)

    scale = per_channel(rate) * norm.weight
    shift = norm.bias - per_channel(mean) * scale
    shape = (batch, channels, 1, 1, 1)
    dtype = frames_BCFHW.dtype if rounded else scale.dtype
    return scale.view(shape).to(dtype), shift.view(shape).to(dtype)


def _moments_of_rows(frames_BCFHW: Tensor, num_groups: int) -> tuple[Tensor, Tensor]:
    """Means of the values and of their squares, [B, groups, rows of a group]."""
    rows = frames_BCFHW.reshape(len(frames_BCFHW), num_groups, -1, frames_BCFHW.shape[-1])
    length, dtype = rows.shape[-1], torch.promote_types(rows.dtype, torch.float32)
    row_means = rows.sum(-1, dtype=dtype) / length
    return row_means, torch.linalg.vector_norm(rows, dim=-1, dtype=dtype).square() / length


def _moments_of_frames(frames_BFHWC: Tensor, num_groups: int) -> tuple[Tensor, Tensor]:
    """Means of the values and of their squares, [B, groups, frames x channels of a group]."""
    dtype = torch.promote_types(frames_BFHWC.dtype, torch.float32)
    means: list[Tensor] = []
    squares: list[Tensor] = []
    for frame_BHWC in frames_BFHWC.unbind(1):
        pixels_BLC = frame_BHWC.flatten(1, 2).to(dtype)
        means.append(pixels_BLC.mean(1))
        squares.append(pixels_BLC.square().mean(1))

    def by_group(moments_BC: list[Tensor]) -> Tensor:
        return torch.stack(moments_BC, dim=-1).unflatten(1, (num_groups, -1)).flatten(2)

    return by_group(means), by_group(squares)
