"""Normalization, split into its statistics and the scale and shift that apply them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from reelwright.nn.threads import share_out


@dataclass(frozen=True, kw_only=True)
class GroupMoments:
    """What a group norm needs to know of frames: at least float32, [B, groups]."""

    num_values: int
    """In each group."""
    mean: Tensor
    variance: Tensor


def group_norm_affine(
    frames_BCFHW: Tensor,
    norm: nn.GroupNorm,
    *,
    rounded: bool = True,
    measure: Callable[[Tensor, int], GroupMoments] | None = None,
) -> tuple[Tensor, Tensor]:
    """The scale and shift, each [B, C, 1, 1, 1], with which group norm is frames * scale + shift.

    They have the number format of the frames if `rounded`, else at least float32. measure: tells the moments
    of more than these frames; without it they are `group_moments`.
    """
    moments = (measure or group_moments)(frames_BCFHW, norm.num_groups)
    scale, shift = affine_of_moments(moments, norm)
    dtype = frames_BCFHW.dtype if rounded else scale.dtype
    return scale.to(dtype), shift.to(dtype)


def group_moments(frames_BCFHW: Tensor, num_groups: int) -> GroupMoments:
    """Mean and variance of each group of channels.

    Means and squares are taken row by row first (frame by frame, where channels lie innermost), which keeps
    float32 sums short. Where a group's mean is ten times its deviation, its variance is still right to 5e-6.
    """
    frames_BFHWC = frames_BCFHW.permute(0, 2, 3, 4, 1)
    channels_innermost = frames_BFHWC.stride(-1) == 1 and not frames_BCFHW.is_contiguous()
    if channels_innermost:
        row_means, row_squares = _moments_of_frames(frames_BFHWC, num_groups)
    else:
        row_means, row_squares = _moments_of_rows(frames_BCFHW, num_groups)
    mean = row_means.mean(-1)
    variance = (row_squares - row_means.square()).mean(-1) + row_means.var(-1, correction=0)
    num_values = frames_BCFHW[0].numel() // num_groups
    return GroupMoments(num_values=num_values, mean=mean, variance=variance.clamp_min(0.0))


def combine_moments(parts: Sequence[GroupMoments]) -> GroupMoments:
    """Moments of all values of the parts, from differences of means: no large squares cancel each other."""
    num_values = sum(part.num_values for part in parts)
    shares = [part.num_values / num_values for part in parts]
    mean = torch.stack([share * part.mean for share, part in zip(shares, parts, strict=True)]).sum(0)
    spreads = [
        share * (part.variance + (part.mean - mean).square())
        for share, part in zip(shares, parts, strict=True)
    ]
    return GroupMoments(num_values=num_values, mean=mean, variance=torch.stack(spreads).sum(0))


def affine_of_moments(moments: GroupMoments, norm: nn.GroupNorm) -> tuple[Tensor, Tensor]:
    """The scale and shift, each [B, C, 1, 1, 1], of a group norm of values with these moments."""
    rate = torch.rsqrt(moments.variance + norm.eps)

    def per_channel(groups_BG: Tensor) -> Tensor:
        return groups_BG.repeat_interleave(norm.num_channels // norm.num_groups, dim=1)

    scale = per_channel(rate) * norm.weight
    shift = norm.bias - per_channel(moments.mean) * scale
    shape = (*scale.shape, 1, 1, 1)
    return scale.view(shape), shift.view(shape)


def _moments_of_rows(frames_BCFHW: Tensor, num_groups: int) -> tuple[Tensor, Tensor]:
    """Means of the values and of their squares, [B, groups, rows of a group]."""
    rows = frames_BCFHW.reshape(len(frames_BCFHW), num_groups, -1, frames_BCFHW.shape[-1])
    length, dtype = rows.shape[-1], torch.promote_types(rows.dtype, torch.float32)
    row_means = rows.sum(-1, dtype=dtype) / length
    return row_means, torch.linalg.vector_norm(rows, dim=-1, dtype=dtype).square() / length


def _moments_of_frames(frames_BFHWC: Tensor, num_groups: int) -> tuple[Tensor, Tensor]:
    """Means of the values and of their squares, [B, groups, frames x channels of a group]."""
    dtype = torch.promote_types(frames_BFHWC.dtype, torch.float32)
    pictures = frames_BFHWC.unbind(1)  # once: the gradient of each view taken alone has the size of all
    means: dict[int, Tensor] = {}
    squares: dict[int, Tensor] = {}

    def measure(frames: Sequence[int]) -> None:
        for frame in frames:
            pixels_BLC = pictures[frame].flatten(1, 2).to(dtype)
            means[frame] = pixels_BLC.mean(1)
            squares[frame] = pixels_BLC.square().mean(1)

    def by_group(moments_BC: dict[int, Tensor]) -> Tensor:
        in_order = [moments_BC[frame] for frame in range(len(moments_BC))]
        return torch.stack(in_order, dim=-1).unflatten(1, (num_groups, -1)).flatten(2)

    share_out(measure, range(len(pictures)), frames_BFHWC)
    return by_group(means), by_group(squares)
