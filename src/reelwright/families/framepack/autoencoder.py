"""HunyuanVideo's 3D causal autoencoder (arXiv 2412.03603): 4 x 8 x 8 pixels to one latent vector.

The first frame of a clip has a latent frame of its own, all others come in fours. Group norms span the clip:
it is encoded whole, each layer working through it a few frames at a time and, without gradients, in place.
"""

from collections.abc import Iterable, Iterator
from itertools import chain, pairwise, product
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reelwright.families.framepack.causal_convolution import (
    CausalConvolution,
    Stream,
    new_frames,
    padded_pieces,
)
from reelwright.families.framepack.clip_statistics import ClipStatistics
from reelwright.families.framepack.config import AutoencoderConfig
from reelwright.nn.other_parts import OtherParts
from reelwright.nn.posterior import Posterior
from reelwright.nn.upsampling import TAPS_ON_SMALL
from reelwright.nn.volume_convolution import convolve_volume

_STRIDES = ((1, 2, 2), (2, 2, 2), (2, 2, 2))
"""Over time, height and width, after each stage but the last; on the way back in the same order."""
_NORM_EPSILON = 1e-6
_ATTENDED_PAST = 18
"""Latent frames before its own chunk that a frame attends to: FramePack decodes 19 at a time."""


class FramePackAutoencoder(nn.Module):
    """Pixels in [-1, 1] to the parameters of a diagonal Gaussian over latents, and latents to pixels."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        self.spatial_stride = config.spatial_stride
        self.temporal_stride = config.temporal_stride
        self.encoder = Encoder(config)
        self.moments_projection = nn.Conv3d(2 * config.latent_channels, 2 * config.latent_channels, 1)
        self.latents_projection = nn.Conv3d(config.latent_channels, config.latent_channels, 1)
        self.decoder = Decoder(config)

    def encode(self, pixels_BCFHW: Tensor, *, chunk: int = 0) -> Posterior:
        """Encode a clip of 4k+1 frames whose sides are multiples of 8.

        chunk: frames that a layer takes at a time, rounded up to even numbers, 0 chooses by their size. The
        result does not depend on it. Raises ValueError for clips of other sizes.
        """
        return Posterior(self.moments(pixels_BCFHW, chunk=chunk))

    def moments(self, pixels_BCFHW: Tensor, *, chunk: int = 0) -> Tensor:
        """As `encode`, but mean and log-variance, on the channel axis, as they are."""
        return self._encode_chunk(pixels_BCFHW, Stream(piece=chunk))

    def decode(self, latents_BCTHW: Tensor, *, chunk: int = 0) -> Tensor:
        """Decode T latent frames to 4T-3 frames of pixels; `chunk` as in `encode`."""
        return self._decode_chunk(latents_BCTHW, Stream(piece=chunk))

    def encode_stream(
        self,
        pixels_BCFHW: Iterable[Tensor],
        *,
        first_frame: bool = True,
        piece: int = 0,
        statistics: ClipStatistics | None = None,
        others: OtherParts | None = None,
    ) -> Iterator[Tensor]:
        """Yield mean and log-variance, on the channel axis, of each chunk of frames.

        Convolutions see across the cuts, but norms see one chunk, and attention a limited past: that bounds
        memory for clips of any length, and approximates what `encode` gives. A clip in one chunk is exact.
        piece: frames that a layer takes at a time, as `chunk` of `encode`. statistics: lets norms see the
        clip, as far as earlier passes over the same chunks tell. others: the rest of the clip, where the one
        chunk is a part of it; the result is then exact.
        """
        stream = Stream(
            first_frame=first_frame,
            continues=others is None,
            piece=piece,
            statistics=statistics,
            others=others,
        )
        for chunk in pixels_BCFHW:
            yield self._encode_chunk(chunk, stream)
            stream.first_frame = False

    def decode_stream(
        self, latents_BCTHW: Iterable[Tensor], *, first_frame: bool = True, others: OtherParts | None = None
    ) -> Iterator[Tensor]:
        """Yield the pixels of each chunk of latent frames; an approximation, as `encode_stream` is."""
        stream = Stream(first_frame=first_frame, continues=others is None, others=others)
        for chunk in latents_BCTHW:
            yield self._decode_chunk(chunk, stream)
            stream.first_frame = False

    def _encode_chunk(self, pixels_BCFHW: Tensor, stream: Stream) -> Tensor:
        *_, frames, height, width = pixels_BCFHW.shape
        alone = int(stream.first_frame)
        if (frames - alone) % self.temporal_stride or height % 8 or width % 8:
            raise ValueError(
                f"{frames} frames of {height} x {width}: expected 4k+{alone} frames and sides that 8 divides"
            )
        return self.moments_projection(self.encoder(pixels_BCFHW, stream))

    def _decode_chunk(self, latents_BCTHW: Tensor, stream: Stream) -> Tensor:
        return self.decoder(self.latents_projection(latents_BCTHW), stream)


class Encoder(nn.Module):
    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        widths = config.block_out_channels
        self.conv_in = CausalConvolution(config.in_channels, widths[0])
        self.stages = nn.ModuleList(
            Stage(
                config,
                *pair,
                config.layers_per_block,
                strides and CausalConvolution(pair[1], pair[1], strides),
            )
            for pair, strides in zip(pairwise((widths[0], *widths)), (*_STRIDES, None), strict=True)
        )
        self.middle = Middle(config, widths[-1])
        self.norm_out = _norm(config, widths[-1])
        self.conv_out = CausalConvolution(widths[-1], 2 * config.latent_channels)

    def forward(self, pixels_BCFHW: Tensor, stream: Stream) -> Tensor:
        hidden = self.conv_in(pixels_BCFHW, stream)
        # One flat loop: a loop within a stage would hold the stage's input until its end.
        for layer in (*chain.from_iterable(cast("Iterable[Stage]", self.stages)), *self.middle):
            hidden = layer(hidden, stream)
        return self.conv_out(hidden, stream, self.norm_out)


class Decoder(nn.Module):
    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        widths = config.block_out_channels[::-1]
        self.conv_in = CausalConvolution(config.latent_channels, widths[0])
        self.middle = Middle(config, widths[0])
        self.stages = nn.ModuleList(
            Stage(config, *pair, config.layers_per_block + 1, strides and Upsample(pair[1], strides))
            for pair, strides in zip(pairwise((widths[0], *widths)), (*_STRIDES, None), strict=True)
        )
        self.norm_out = _norm(config, widths[-1])
        self.conv_out = CausalConvolution(widths[-1], config.out_channels)

    def forward(self, latents_BCTHW: Tensor, stream: Stream) -> Tensor:
        hidden = self.conv_in(latents_BCTHW, stream)
        for layer in (*self.middle, *chain.from_iterable(cast("Iterable[Stage]", self.stages))):
            hidden = layer(hidden, stream)
        return self.conv_out(hidden, stream, self.norm_out)


class Stage(nn.Module):
    """Residual blocks, then perhaps a change of size."""

    def __init__(
        self,
        config: AutoencoderConfig,
        inputs: int,
        outputs: int,
        num_resnets: int,
        resample: nn.Module | None,
    ) -> None:
        super().__init__()
        widths = [inputs] + [outputs] * num_resnets
        self.resnets = nn.ModuleList(Resnet(config, *pair) for pair in pairwise(widths))
        self.resample = resample

    def __iter__(self) -> Iterator[nn.Module]:
        yield from self.resnets
        if self.resample is not None:
            yield self.resample


class Middle(nn.Module):
    """Two residual blocks with attention between."""

    def __init__(self, config: AutoencoderConfig, width: int) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(Resnet(config, width, width) for _ in range(2))
        self.attention = FrameAttention(config, width)

    def __iter__(self) -> Iterator[nn.Module]:
        first, second = self.resnets
        yield from (first, self.attention, second)


class Resnet(nn.Module):
    """Without gradients the result is written where the input or the first half of the block was."""

    def __init__(self, config: AutoencoderConfig, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm1 = _norm(config, inputs)
        self.conv1 = CausalConvolution(inputs, outputs)
        self.norm2 = _norm(config, outputs)
        self.conv2 = CausalConvolution(outputs, outputs)
        self.shortcut = nn.Conv3d(inputs, outputs, 1) if inputs != outputs else None

    def forward(self, hidden: Tensor, stream: Stream) -> Tensor:
        inner = self.conv1(hidden, stream, self.norm1)
        if torch.is_grad_enabled():
            return self._skipped(hidden) + self.conv2(inner, stream, self.norm2)
        result = hidden if self.shortcut is None else inner
        for place, padded in self.conv2.pieces(inner, stream, self.norm2):
            skipped = self._skipped(hidden[:, :, place])
            torch.add(skipped, self.conv2.convolve(padded), out=result[:, :, place])
        return result

    def _skipped(self, hidden: Tensor) -> Tensor:
        return hidden if self.shortcut is None else _project(self.shortcut, hidden)


def _project(layer: nn.Conv3d, frames_BCFHW: Tensor) -> Tensor:
    """A convolution of single pixels as the matrix product that it is."""
    channels_last = F.linear(frames_BCFHW.permute(0, 2, 3, 4, 1), layer.weight.flatten(1), layer.bias)
    return channels_last.permute(0, 4, 1, 2, 3)


class FrameAttention(nn.Module):
    """One head over all pixels of a frame and of the frames before it.

    Frame by frame, and so without the mask over all pairs of pixels, which is larger than all else.
    """

    def __init__(self, config: AutoencoderConfig, width: int) -> None:
        super().__init__()
        self.norm = _norm(config, width)
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.output = nn.Linear(width, width)

    def forward(self, hidden: Tensor, stream: Stream) -> Tensor:
        num_frames, height, width = hidden.shape[2:]
        scale, shift = stream.affine(hidden, self.norm)
        normalized = torch.addcmul(shift, hidden, scale).to(hidden.dtype)
        tokens_BLD = normalized.permute(0, 2, 3, 4, 1).flatten(1, 3)
        queries = self.query(tokens_BLD).unsqueeze(1)
        keys_and_values = torch.stack([self.key(tokens_BLD), self.value(tokens_BLD)]).unsqueeze(2)
        area = height * width
        keys_and_values = self._after_the_past(keys_and_values, stream, area)
        keys, values = keys_and_values
        num_past = keys.shape[2] - num_frames * area
        stops = range(num_past + area, keys.shape[2] + 1, area)
        attended = [
            F.scaled_dot_product_attention(own, keys[:, :, :stop], values[:, :, :stop])
            for own, stop in zip(queries.split(area, dim=2), stops, strict=True)
        ]
        result = self.output(torch.cat(attended, dim=2).squeeze(1))
        return hidden + result.unflatten(1, (num_frames, height, width)).permute(0, 4, 1, 2, 3)

    def _after_the_past(self, tokens: Tensor, stream: Stream, area: int) -> Tensor:
        """The tokens [2, B, 1, L, D], after those of frames before; `area` of them are a frame."""
        if stream.others is not None:
            return stream.others.all_before(tokens.unflatten(3, (-1, area)), dim=3).flatten(3, 4)
        before = stream.before(self)
        if before is not None:
            tokens = torch.cat([before, tokens], dim=3)
        stream.keep(self, tokens[..., -_ATTENDED_PAST * area :, :])
        return tokens


class Upsample(nn.Conv3d):
    """Repeat rows and columns, and frames after the first where time is doubled; then convolve.

    The large frames are never made. Where values repeat, several taps of the kernel meet the same value: each
    of the pixels that a small one becomes sees 2 x 2 of the small frame (and 2 small frames), so a kernel of
    summed taps for each does 12/27 (8/27) of the work. Half precision rounds the sums once more.
    """

    def __init__(self, channels: int, strides: tuple[int, int, int]) -> None:
        super().__init__(channels, channels, 3)
        self.num_copies = strides[0]

    def forward(self, hidden: Tensor, stream: Stream) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        batch, channels, num_frames, height, width = hidden.shape
        copies = self.num_copies
        larger = new_frames(hidden, batch, channels, copies * num_frames, 2 * height, 2 * width)
        places = larger.unflatten(4, (width, 2)).unflatten(3, (height, 2)).unflatten(2, (num_frames, copies))
        assert self.bias is not None
        kernels, bias = self._kernels(), self.bias.repeat(copies)
        start, room = 0, kernels.shape[4] - 1
        for padded in padded_pieces(hidden, stream, self, room=room):
            stop = start + padded.shape[2] - room
            for row, column in product((0, 1), repeat=2):
                seen = padded[..., row : row + height + 1, column : column + width + 1]
                small = convolve_volume(seen, kernels[row, column], bias).unflatten(1, (copies, channels))
                places[:, :, start:stop, :, :, row, :, column] = small.movedim(1, 3)
            start = stop
        return larger[:, :, 1:] if copies == 2 and stream.first_frame else larger

    def _kernels(self) -> Tensor:
        """For each row and column of a pixel's square: weights [copies x C, C, 2 or 3, 2, 2]."""
        taps = TAPS_ON_SMALL.to(self.weight)
        # A kernel that ends on the first copy of a frame sees the past twice, on the second the frame itself.
        times = taps.flip(0) if self.num_copies == 2 else torch.eye(3).to(taps)[None]
        kernels = torch.einsum("pkt,ray,sbx,oityx->rspoikab", times, taps, taps, self.weight)
        return kernels.flatten(2, 3)


def _norm(config: AutoencoderConfig, channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(config.norm_num_groups, channels, _NORM_EPSILON)
