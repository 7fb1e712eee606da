"""Causal convolution of whole clips, a few frames at a time.

Group norms span the clip, so a clip cannot pass through the network in chunks. Each layer can, once the
statistics of its norm are known: normalized, activated and padded frames exist only for the piece at hand.
Channels lie innermost in memory, as the fast kernels of processors and GPUs want them.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reelwright.families.framepack.clip_statistics import ClipStatistics
from reelwright.nn import winograd
from reelwright.nn.causal_conv3d import chunk_lengths
from reelwright.nn.norms import group_norm_affine
from reelwright.nn.other_parts import OtherParts
from reelwright.nn.volume_convolution import convolve_each, convolve_volume

_KERNEL = 3
_MIN_TILED_CHANNELS = 128
_PIXELS_PER_CHANNEL = 8
"""Measured: tiles take 0.4 of the time for 256 channels of 50 x 50 pixels, and 2.2 for 512 of 14 x 14."""
_PIECE_VALUES = 2**22
"""Values of a piece: its memory is then used again and again rather than asked of the system each time."""


class Stream:
    """One pass over a clip: how it is cut, and what layers remember from one chunk to the next.

    first_frame: whether the next chunk starts with the clip's first frame, which has a latent frame alone.
    continues: whether another chunk follows. piece: frames that a layer takes at a time, 0 chooses.
    statistics: of the clip, for its norms; without it each norm sees the chunk that it is given.
    others: the rest of the clip, where the one chunk is a part of it and others are worked on meanwhile.
    """

    def __init__(
        self,
        *,
        first_frame: bool = True,
        continues: bool = False,
        piece: int = 0,
        statistics: ClipStatistics | None = None,
        others: OtherParts | None = None,
    ) -> None:
        self.first_frame = first_frame
        self.continues = continues
        self.piece = piece
        self.statistics = statistics
        self.others = others
        self._kept: dict[nn.Module, Tensor] = {}

    @property
    def is_whole(self) -> bool:
        """Whether the chunk is all there is of the clip."""
        return self.first_frame and not self.continues and self.others is None

    def before(self, layer: nn.Module) -> Tensor | None:
        """What the layer kept of the chunk before this one."""
        return self._kept.get(layer)

    def keep(self, layer: nn.Module, state: Tensor) -> None:
        if self.continues:
            self._kept[layer] = state.clone()

    def affine(self, frames_BCFHW: Tensor, norm: nn.GroupNorm) -> tuple[Tensor, Tensor]:
        """Scale and shift of a norm, not rounded, of these frames and of what else it may see of the clip."""
        if self.statistics:
            return self.statistics.affine(frames_BCFHW, norm)
        measure = self.others.moments if self.others else None
        return group_norm_affine(frames_BCFHW, norm, rounded=False, measure=measure)

    def piece_lengths(self, num_frames: int, values_per_frame: int) -> list[int]:
        """Even numbers but for a first frame, so that pairs of frames are not torn apart."""
        piece = self.piece or _PIECE_VALUES // values_per_frame
        return chunk_lengths(num_frames, max(piece + piece % 2, 2))


def padded_pieces(
    frames_BCFHW: Tensor, stream: Stream, layer: nn.Conv3d, *, norm: nn.GroupNorm | None = None, room: int = 2
) -> Iterator[Tensor]:
    """Yield a few frames at a time, with `room` frames of the past in front and a border of one pixel.

    With a norm they are normalized and activated. The border repeats the nearest pixel, the past before a
    clip its first frame. The memory of what is yielded is used again; the frames it came from may be
    overwritten.
    """
    affine = None if norm is None else stream.affine(frames_BCFHW, norm)
    if torch.is_grad_enabled():
        yield _padded_at_once(frames_BCFHW, stream, layer, affine, room)
        return
    batch, channels, num_frames, height, width = frames_BCFHW.shape
    widest = max(channels, layer.out_channels)
    lengths = stream.piece_lengths(num_frames, batch * widest * height * width)
    buffer = new_frames(frames_BCFHW, batch, channels, room + max(lengths), height + 2, width + 2)
    if stream.others is not None:
        _write_padded(buffer[:, :, :room], stream.others.frames_before(frames_BCFHW, room), affine)
    for number, frames in enumerate(frames_BCFHW.split(lengths, dim=2)):
        count = frames.shape[2]
        arriving = buffer[:, :, room : room + count]
        _write_padded(arriving, frames, affine)
        if number == 0 and stream.others is None:
            before = stream.before(layer)
            buffer[:, :, :room] = arriving[:, :, :1] if before is None else before
        yield buffer[:, :, : room + count]
        if number < len(lengths) - 1:
            # One by one, because they may overlap.
            for index in range(room):
                buffer[:, :, index] = buffer[:, :, count + index]
        else:
            stream.keep(layer, buffer[:, :, count : room + count])


def _padded_at_once(
    frames_BCFHW: Tensor, stream: Stream, layer: nn.Conv3d, affine: tuple[Tensor, Tensor] | None, room: int
) -> Tensor:
    """All frames, written nowhere twice: gradients of a buffer are copied whole for each write into it."""
    before = stream.before(layer)
    if stream.others is not None:
        before = _with_border(_activated(stream.others.frames_before(frames_BCFHW, room), affine))
    padded = _with_border(_activated(frames_BCFHW, affine), room if before is None else 0)
    if before is not None:
        padded = torch.cat([before, padded], dim=2)
    if room:
        stream.keep(layer, padded[:, :, -room:])
    return padded


def _activated(frames_BCFHW: Tensor, affine: tuple[Tensor, Tensor] | None) -> Tensor:
    if affine is None:
        return frames_BCFHW
    scale, shift = affine
    return F.silu(torch.addcmul(shift, frames_BCFHW, scale)).to(frames_BCFHW.dtype)


def _with_border(frames_BCFHW: Tensor, room: int = 0) -> Tensor:
    """The nearest pixels repeated around each frame, and the first one `room` times before the others."""
    return F.pad(frames_BCFHW, (1, 1, 1, 1, room, 0), mode="replicate")


def new_frames(like: Tensor, *shape_BCFHW: int) -> Tensor:
    """Frames of undefined content whose channels lie innermost."""
    batch, channels, *rest = shape_BCFHW
    return like.new_empty(batch, *rest, channels).permute(0, 4, 1, 2, 3)


def _write_padded(target: Tensor, frames: Tensor, affine: tuple[Tensor, Tensor] | None) -> None:
    _write(target[..., 1:-1, 1:-1], frames, affine)
    _repeat_border(target)


def _write(target: Tensor, frames: Tensor, affine: tuple[Tensor, Tensor] | None) -> None:
    if affine is None:
        target.copy_(frames)
        return
    scale, shift = affine
    if scale.dtype != target.dtype:
        target.copy_(F.silu(torch.addcmul(shift, frames, scale)))
    else:
        torch.addcmul(shift, frames, scale, out=target)
        F.silu(target, inplace=True)


def _repeat_border(frames: Tensor) -> None:
    frames[..., 1:-1, 0] = frames[..., 1:-1, 1]
    frames[..., 1:-1, -1] = frames[..., 1:-1, -2]
    frames[..., 0, :] = frames[..., 1, :]
    frames[..., -1, :] = frames[..., -2, :]


class CausalConvolution(nn.Conv3d):
    """A kernel of 3 x 3 x 3; clips are padded by their own border in space, by the past in time.

    With a stride of two in time, a frame remains for the first frame of a clip and for each pair after it.
    """

    def __init__(
        self, in_channels: int, out_channels: int, strides: tuple[int, int, int] = (1, 1, 1)
    ) -> None:
        super().__init__(in_channels, out_channels, _KERNEL, strides)
        self.strides = strides

    def forward(self, frames_BCFHW: Tensor, stream: Stream, norm: nn.GroupNorm | None = None) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Convolve frames, normalized and activated if a norm is given."""
        if torch.is_grad_enabled():
            return self._convolve_at_once(frames_BCFHW, stream, norm)
        batch, _, num_frames, *sides = frames_BCFHW.shape
        sizes = (-(-size // stride) for size, stride in zip((num_frames, *sides), self.strides, strict=True))
        output = new_frames(frames_BCFHW, batch, self.out_channels, *sizes)
        for place, padded in self.pieces(frames_BCFHW, stream, norm):
            output[:, :, place] = self.convolve(padded)
        return output

    def _convolve_at_once(self, frames_BCFHW: Tensor, stream: Stream, norm: nn.GroupNorm | None) -> Tensor:
        if frames_BCFHW.shape[2] > 1 or not stream.is_whole:
            ((_, padded),) = self.pieces(frames_BCFHW, stream, norm)
            return self.convolve(padded)
        # The past of a picture is the picture: what the kernel sees three times needs one look.
        affine = None if norm is None else stream.affine(frames_BCFHW, norm)
        padded = _padded_at_once(frames_BCFHW, stream, self, affine, room=0)
        return convolve_each(padded, self.weight.sum(2), self.bias, stride=self.strides[1])

    def pieces(
        self, frames_BCFHW: Tensor, stream: Stream, norm: nn.GroupNorm | None = None
    ) -> Iterator[tuple[slice, Tensor]]:
        """Yield a few padded frames at a time for `convolve`, and which frames of the output they give.

        The frames they came from may be overwritten.
        """
        stop = 0
        for padded in padded_pieces(frames_BCFHW, stream, self, norm=norm):
            # With a stride of two, the kernel ends on the first frame and then on the second of each pair.
            starts_with_pair = self.strides[0] == 2 and not (stream.first_frame and stop == 0)
            seen = padded[:, :, 1:] if starts_with_pair else padded
            start, stop = stop, stop + (seen.shape[2] - _KERNEL) // self.strides[0] + 1
            yield slice(start, stop), seen

    def convolve(self, padded_BCFHW: Tensor) -> Tensor:
        if self.bias is not None and self._gains_by_tiles(padded_BCFHW):
            return winograd.convolve_tiles(padded_BCFHW, self.weight, self.bias, padding=0)
        return convolve_volume(padded_BCFHW, self.weight, self.bias, stride=self.strides)

    def _gains_by_tiles(self, padded_BCFHW: Tensor) -> bool:
        """Whether there are many channels, and enough pixels that it pays to transform the kernel."""
        widest = max(self.weight.shape[:2])
        num_pixels = padded_BCFHW[:, 0].numel()
        return (
            self.strides == (1, 1, 1)
            and min(self.weight.shape[:2]) >= _MIN_TILED_CHANNELS
            and num_pixels >= _PIXELS_PER_CHANNEL * widest
            and winograd.is_suited(padded_BCFHW, self.weight)
        )
