"""A network that tells clips from their reconstructions (arXiv 2408.06072).

Causal residual blocks over time and space, in which the first frame stands alone as in an autoencoder's
latents; then, of the mean over time, residual blocks of pictures with linear attention; then a linear head.
"""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reelwright.nn.causal_conv3d import CausalConv3d, Past
from reelwright.nn.winograd import lay_out

_SLOPE = 0.1
_MAX_CHANNELS = 512
_HEAD_SIZE = 32


class Discriminator(nn.Module):
    """Clips of any number of frames, one included, to scores: high for clips, low for reconstructions.

    channels: width of the first stage; each stage halves height and width and doubles it, up to 512.
    num_clip_stages: of the stages, those that also halve the number of frames after the first.
    """

    def __init__(self, channels: int, *, num_stages: int = 5, num_clip_stages: int = 3) -> None:
        super().__init__()
        widths = [min(channels * 2**i, _MAX_CHANNELS) for i in (0, *range(num_stages))]
        pairs = list(pairwise(widths))
        self.conv_in = CausalConv3d(3, channels, 3)
        self.clip_stages = nn.ModuleList(ClipBlock(*pair) for pair in pairs[:num_clip_stages])
        self.picture_stages = nn.ModuleList(
            nn.Sequential(PictureBlock(*pair), LinearAttention(pair[1])) for pair in pairs[num_clip_stages:]
        )
        self.conv_out = nn.Conv2d(widths[-1], widths[-1], 3, padding=1)
        self.head = nn.Linear(widths[-1], 1)

    def forward(self, pixels_BCFHW: Tensor) -> Tensor:
        """Pixels in [-1, 1] to a score for each cell of 2**num_stages pixels, [B, rows, columns]."""
        hidden = _activate(self.conv_in(lay_out(pixels_BCFHW), Past()))
        for stage in self.clip_stages:
            hidden = stage(hidden)
        pictures_BCHW = hidden.mean(dim=2)
        for stage in self.picture_stages:
            pictures_BCHW = stage(pictures_BCHW)
        features_BCHW = _activate(self.conv_out(pictures_BCHW))
        return self.head(features_BCHW.movedim(1, -1)).squeeze(-1)


class ClipBlock(nn.Module):
    """Two causal convolutions beside a projection; halves frames after the first, height and width."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = CausalConv3d(inputs, outputs, 3)
        self.conv2 = CausalConv3d(outputs, outputs, 3)
        self.shortcut = nn.Conv3d(inputs, outputs, 1)

    def forward(self, hidden: Tensor) -> Tensor:
        inner = _activate(self.conv1(hidden, Past()))
        inner = _activate(self.conv2(inner, Past()))
        return _sum(self.shortcut(halve_clip(hidden)), halve_clip(inner))


class PictureBlock(nn.Module):
    """Two convolutions beside a projection; halves height and width."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.shortcut = nn.Conv2d(inputs, outputs, 1)

    def forward(self, pictures_BCHW: Tensor) -> Tensor:
        inner = _activate(self.conv2(_activate(self.conv1(pictures_BCHW))))
        return _sum(self.shortcut(_halve_sides(pictures_BCHW)), _halve_sides(inner))


class LinearAttention(nn.Module):
    """Attention whose cost grows with the number of pixels, not with its square (arXiv 1812.01243).

    Queries are softmaxed over their own values and keys over all pixels, so their order can be exchanged.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.num_heads = max(channels // _HEAD_SIZE, 1)
        width = self.num_heads * _HEAD_SIZE
        self.norm = nn.LayerNorm(channels)
        self.query_key_value = nn.Linear(channels, 3 * width, bias=False)
        self.output = nn.Linear(width, channels)

    def forward(self, pictures_BCHW: Tensor) -> Tensor:
        tokens_BLC = pictures_BCHW.flatten(2).transpose(1, 2)
        by_head = self.query_key_value(self.norm(tokens_BLC)).unflatten(-1, (3, self.num_heads, _HEAD_SIZE))
        query, key, value = by_head.permute(2, 0, 3, 1, 4)
        summary = key.softmax(dim=-2).transpose(-1, -2) @ value
        attended = query.softmax(dim=-1) @ summary
        change_BLC = self.output(attended.transpose(1, 2).flatten(2))
        return pictures_BCHW + change_BLC.transpose(1, 2).unflatten(2, pictures_BCHW.shape[2:])


def halve_clip(frames_BCFHW: Tensor) -> Tensor:
    """Halve height and width, and the number of frames after the first, each blurred with its neighbors.

    Odd sizes are rounded up. The first frame is blurred in space alone and seen by no other.
    """
    smaller = _halve_sides(frames_BCFHW)
    first, rest = smaller[:, :, :1], smaller[:, :, 1:]
    return torch.cat([first, _halve(rest, 2)], dim=2) if rest.shape[2] else first


def _halve_sides(pictures: Tensor) -> Tensor:
    return _halve(_halve(pictures, -1), -2)


def _halve(values: Tensor, dim: int) -> Tensor:
    """Every second value of a blur with (1, 2, 1) / 4, whose edges repeat."""
    size = values.shape[dim]
    middle = torch.arange(0, size, 2, device=values.device)
    around = values.index_select(dim, (middle - 1).clamp_min(0)) + values.index_select(
        dim, (middle + 1).clamp_max(size - 1)
    )
    return torch.lerp(0.5 * around, values.index_select(dim, middle), 0.5)


def _activate(values: Tensor) -> Tensor:
    return F.leaky_relu(values, _SLOPE)


def _sum(one: Tensor, other: Tensor) -> Tensor:
    """Of about the variance that each has."""
    return (one + other) / math.sqrt(2.0)
