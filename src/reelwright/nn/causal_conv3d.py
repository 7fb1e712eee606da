"""Convolution over time that sees only the past, so that a clip can be processed as a stream of chunks."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Past:
    """What one stream over time must remember between its chunks.

    That is the last input frames of each temporal convolution, and whether the next chunk starts with the clip's
    first frame (which stands alone in latent space, where all later frames come in groups).
    """

    def __init__(self, *, first_frame: bool = True) -> None:
        self.first_frame = first_frame
        self._frames: dict[nn.Module, Tensor] = {}

    def prepend(self, layer: nn.Module, frames_BCFHW: Tensor, count: int) -> Tensor:
        """Put the `count` frames before this chunk in front of it: the layer's last ones, or copies of frame 0."""
        before = self._frames.get(layer)
        if before is None:
            before = frames_BCFHW[:, :, :1].expand(-1, -1, count, -1, -1)
        frames = torch.cat([before, frames_BCFHW], dim=2)
        self._frames[layer] = frames[:, :, -count:].clone()
        return frames


class CausalConv3d(nn.Conv3d):
    """A cubic kernel with zero padding in space and the past as padding in time."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int) -> None:
        side = kernel_size // 2
        super().__init__(in_channels, out_channels, kernel_size, padding=(0, side, side))
        self.num_past = kernel_size - 1

    def forward(self, frames_BCFHW: Tensor, past: Past) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        if self.num_past:
            frames_BCFHW = past.prepend(self, frames_BCFHW, self.num_past)
        return F.conv3d(frames_BCFHW, self.weight, self.bias, padding=self.padding)
