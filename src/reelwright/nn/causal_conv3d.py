"""Convolution over time that sees only the past, so that a clip can be processed as a stream of chunks."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reelwright.nn import winograd
from reelwright.nn.norms import group_norm_affine
from reelwright.nn.other_parts import OtherParts
from reelwright.nn.threads import share_out
from reelwright.nn.volume_convolution import convolve_each, convolve_volume

_FEW_CHANNELS = 3


class Past:
    """What one stream over time must remember between its chunks.

    That is the last input frames of each temporal convolution, and whether the next chunk starts with the
    clip's first frame (which stands alone in latent space, where all later frames come in groups).
    others: where the one chunk is a part of a clip and others are worked on meanwhile, they know the past.
    """

    def __init__(self, *, first_frame: bool = True, others: OtherParts | None = None) -> None:
        self.first_frame = first_frame
        self._others = others
        self._frames: dict[nn.Module, Tensor] = {}

    def fill(self, layer: nn.Module, frames_BCFHW: Tensor, count: int) -> None:
        """Write the `count` frames before this chunk into its first places: the layer's last, or copies of
        the chunk's first."""
        if self._others is not None:
            frames_BCFHW[:, :, :count] = self._others.frames_before(frames_BCFHW[:, :, count:], count)
            return
        before = self._frames.get(layer)
        frames_BCFHW[:, :, :count] = frames_BCFHW[:, :, count : count + 1] if before is None else before
        last = frames_BCFHW[:, :, -count:]
        if before is None or frames_BCFHW.requires_grad:
            self._frames[layer] = last.clone()
        else:
            before.copy_(last)

    def affine(self, frames_BCFHW: Tensor, norm: nn.GroupNorm) -> tuple[Tensor, Tensor]:
        """Scale and shift of a norm that sees this chunk, and the other parts of a clip that has them."""
        measure = self._others.moments if self._others is not None else None
        return group_norm_affine(frames_BCFHW, norm, measure=measure)


def chunk_lengths(total: int, chunk: int) -> list[int]:
    """Cut a clip into chunks, the remainder added to the first. chunk 0 means the whole clip."""
    count = max(total // chunk, 1) if chunk else 1
    return [total - (count - 1) * chunk] + [chunk] * (count - 1)


class CausalConv3d(nn.Conv3d):
    """A cubic kernel with zero padding in space and the past as padding in time."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int) -> None:
        side = kernel_size // 2
        super().__init__(in_channels, out_channels, kernel_size, padding=(0, side, side))
        self.num_past = kernel_size - 1

    def forward(self, frames_BCFHW: Tensor, past: Past) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return self.convolve(F.pad(frames_BCFHW, (0, 0, 0, 0, self.num_past, 0)), past)

    def convolve(self, frames_BCFHW: Tensor, past: Past) -> Tensor:
        """As forward, for frames that already have room for the past in front; its content is overwritten."""
        past.fill(self, frames_BCFHW, self.num_past)
        if self.bias is not None and winograd.is_suited(frames_BCFHW, self.weight):
            return winograd.convolve_tiles(frames_BCFHW, self.weight, self.bias)
        if self.in_channels <= _FEW_CHANNELS:
            return self._convolve_pictures(frames_BCFHW)
        return convolve_volume(frames_BCFHW, self.weight, self.bias, padding=self.num_past // 2)

    def _convolve_pictures(self, frames_BCFHW: Tensor) -> Tensor:
        """The frames that make a result lie side by side as channels of one picture: general kernels for few
        channels copy every frame 27 times instead."""
        num_results = frames_BCFHW.shape[2] - self.num_past
        shifted = [frames_BCFHW[:, :, tap : tap + num_results] for tap in range(self.num_past + 1)]
        kernel = self.weight.transpose(1, 2).flatten(1, 2)
        return convolve_each(torch.cat(shifted, dim=1), kernel, self.bias, padding=self.num_past // 2)


def scale_shift_silu(frames_BCFHW: Tensor, scale: Tensor, shift: Tensor, room: int) -> Tensor:
    """silu(frames * scale + shift), with `room` more frames in front whose content is undefined.

    scale and shift: [B, C, F, R, 1, W] with R rows, each for H / R rows of the frames; F, R and W may be 1.
    """
    batch, channels, num_frames, height, width = frames_BCFHW.shape
    rows = frames_BCFHW.unflatten(3, (scale.shape[3], -1))
    if torch.is_grad_enabled() and (frames_BCFHW.requires_grad or scale.requires_grad):
        activated = F.silu(torch.addcmul(shift, rows, scale)).flatten(3, 4)
        return F.pad(activated, (0, 0, 0, 0, room, 0))
    # Written in place: fresh memory for every intermediate costs more than the arithmetic.
    if frames_BCFHW.stride(1) == 1:  # channels lie innermost
        output = frames_BCFHW.new_empty(batch, room + num_frames, height, width, channels)
        output = output.permute(0, 4, 1, 2, 3)
    else:
        output = frames_BCFHW.new_empty(batch, channels, room + num_frames, height, width)
    inside = output[:, :, room:].unflatten(3, (scale.shape[3], -1))
    if frames_BCFHW.stride(1) != 1:
        F.silu(torch.addcmul(shift, rows, scale, out=inside), inplace=True)
        return output
    scales, shifts = (values.expand(-1, -1, num_frames, -1, -1, -1) for values in (scale, shift))

    def activate(frames: Sequence[int]) -> None:
        for frame in (slice(index, index + 1) for index in frames):
            place = inside[:, :, frame]
            torch.addcmul(shifts[:, :, frame], rows[:, :, frame], scales[:, :, frame], out=place)
            F.silu(place, inplace=True)

    share_out(activate, range(num_frames), frames_BCFHW)
    return output
