"""The 3D causal autoencoder (arXiv 2408.06072): 4 x 8 x 8 pixels to one latent vector, as a stream over time.

Whether a chunk starts with the clip's first frame is said, never guessed from its length: that frame has a
latent frame of its own, all others come in fours.
"""

from collections.abc import Iterable, Iterator
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reelwright.families.cogvideox.config import AutoencoderConfig
from reelwright.nn.causal_conv3d import CausalConv3d, Past, chunk_lengths, scale_shift_silu
from reelwright.nn.other_parts import OtherParts
from reelwright.nn.posterior import Posterior
from reelwright.nn.upsampling import convolve_doubled
from reelwright.nn.volume_convolution import convolve_each
from reelwright.nn.winograd import lay_out

ROOM = 2
"""Frames of the past that a convolution of three frames needs in front."""


class CogVideoXAutoencoder(nn.Module):
    """Pixels in [-1, 1] to the parameters of a diagonal Gaussian over latents, and latents to pixels."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        self.spatial_stride = config.spatial_stride
        self.temporal_stride = config.temporal_compression_ratio
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)

    def encode(self, pixels_BCFHW: Tensor, *, chunk: int = 8, first_frame: bool = True) -> Posterior:
        """Encode a clip of 4k+1 frames (4k if `first_frame` is not among them).

        Group norms see one chunk at a time, so the cut is part of the function (specs: CogVideoX 1.6).
        """
        lengths = chunk_lengths(pixels_BCFHW.shape[2], chunk)
        moments = self.encode_stream(pixels_BCFHW.split(lengths, dim=2), first_frame=first_frame)
        return Posterior(torch.cat(list(moments), dim=2))

    def decode(self, latents_BCTHW: Tensor, *, chunk: int = 2, first_frame: bool = True) -> Tensor:
        """Decode T latent frames to 4T-3 frames (4T if the first frame is not among them)."""
        lengths = chunk_lengths(latents_BCTHW.shape[2], chunk)
        return torch.cat(
            list(self.decode_stream(latents_BCTHW.split(lengths, dim=2), first_frame=first_frame)), 2
        )

    def encode_stream(
        self, pixels_BCFHW: Iterable[Tensor], *, first_frame: bool = True, others: OtherParts | None = None
    ) -> Iterator[Tensor]:
        """Yield mean and log-variance, on the channel axis, of each chunk of frames.

        others: the rest of the clip, where the one chunk is a part of it; norms then see the clip.
        """
        past = Past(first_frame=first_frame, others=others)
        for chunk in pixels_BCFHW:
            yield self.encoder(chunk, past)
            past.first_frame = False

    def decode_stream(
        self, latents_BCTHW: Iterable[Tensor], *, first_frame: bool = True, others: OtherParts | None = None
    ) -> Iterator[Tensor]:
        """Yield the pixels of each chunk of latent frames; `others` as in `encode_stream`."""
        past = Past(first_frame=first_frame, others=others)
        for chunk in latents_BCTHW:
            yield self.decoder(chunk, past)
            past.first_frame = False


class Encoder(nn.Module):
    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        widths = config.block_out_channels
        self.conv_in = CausalConv3d(config.in_channels, widths[0], 3)
        inputs = (widths[0], *widths[:-1])
        self.stages = nn.ModuleList(
            EncoderStage(
                config,
                inputs[i],
                widths[i],
                halves_space=i < len(widths) - 1,
                halves_time=i < config.num_temporal_stages,
            )
            for i in range(len(widths))
        )
        self.middle = nn.ModuleList(EncoderResnet(config, widths[-1], widths[-1]) for _ in range(2))
        self.norm_out = ActivatedNorm(config, widths[-1])
        self.conv_out = CausalConv3d(widths[-1], 2 * config.latent_channels, 3)

    def forward(self, pixels_BCFHW: Tensor, past: Past) -> Tensor:
        hidden = self.conv_in(lay_out(pixels_BCFHW), past)
        for block in (*self.stages, *self.middle):
            hidden = block(hidden, past)
        return self.conv_out.convolve(self.norm_out(hidden, past), past)


class EncoderStage(nn.Module):
    def __init__(
        self, config: AutoencoderConfig, inputs: int, outputs: int, *, halves_space: bool, halves_time: bool
    ) -> None:
        super().__init__()
        widths = [inputs] + [outputs] * config.layers_per_block
        self.resnets = nn.ModuleList(EncoderResnet(config, *pair) for pair in pairwise(widths))
        self.downsample = Downsample(outputs, halves_time=halves_time) if halves_space else None

    def forward(self, hidden: Tensor, past: Past) -> Tensor:
        for resnet in self.resnets:
            hidden = resnet(hidden, past)
        return hidden if self.downsample is None else self.downsample(hidden, past)


class EncoderResnet(nn.Module):
    def __init__(self, config: AutoencoderConfig, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm1 = ActivatedNorm(config, inputs)
        self.conv1 = CausalConv3d(inputs, outputs, 3)
        self.norm2 = ActivatedNorm(config, outputs)
        self.conv2 = CausalConv3d(outputs, outputs, 3)
        self.shortcut = nn.Conv3d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, hidden: Tensor, past: Past) -> Tensor:
        residual = self.conv1.convolve(self.norm1(hidden, past), past)
        residual = self.conv2.convolve(self.norm2(residual, past), past)
        return residual.add_(self.shortcut(hidden))


class ActivatedNorm(nn.GroupNorm):
    """Group norm and SiLU, leaving room in front for the past of the convolution that follows."""

    def __init__(self, config: AutoencoderConfig, channels: int) -> None:
        super().__init__(config.norm_num_groups, channels, config.norm_eps)

    def forward(self, hidden: Tensor, past: Past) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        scale, shift = past.affine(hidden, self)
        return scale_shift_silu(hidden, scale.unsqueeze(4), shift.unsqueeze(4), ROOM)


class Downsample(nn.Module):
    """Average pairs of frames, then halve height and width with a strided convolution of each frame."""

    def __init__(self, channels: int, *, halves_time: bool) -> None:
        super().__init__()
        self.halves_time = halves_time
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, hidden: Tensor, past: Past) -> Tensor:
        if self.halves_time:
            alone = int(past.first_frame)
            pairs = torch.lerp(hidden[:, :, alone::2], hidden[:, :, alone + 1 :: 2], 0.5)
            hidden = torch.cat([hidden[:, :, :alone], pairs], dim=2) if alone else pairs
        # The released models pad the right and lower edges only.
        return convolve_each(F.pad(hidden, (0, 1, 0, 1)), self.conv.weight, self.conv.bias, stride=2)


class Decoder(nn.Module):
    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        widths = config.block_out_channels[::-1]
        self.conv_in = CausalConv3d(config.latent_channels, widths[0], 3)
        self.middle = nn.ModuleList(DecoderResnet(config, widths[0], widths[0]) for _ in range(2))
        inputs = (widths[0], *widths[:-1])
        self.stages = nn.ModuleList(
            DecoderStage(
                config,
                inputs[i],
                widths[i],
                doubles_space=i < len(widths) - 1,
                doubles_time=i < config.num_temporal_stages,
            )
            for i in range(len(widths))
        )
        self.norm_out = ActivatedLatentNorm(config, widths[-1])
        self.conv_out = CausalConv3d(widths[-1], config.out_channels, 3)

    def forward(self, latents_BCTHW: Tensor, past: Past) -> Tensor:
        hidden = self.conv_in(latents_BCTHW, past)
        for resnet in self.middle:
            hidden = resnet(hidden, latents_BCTHW, past)
        for stage in self.stages:
            hidden = stage(hidden, latents_BCTHW, past)
        return self.conv_out.convolve(self.norm_out(hidden, latents_BCTHW, past), past)


class DecoderStage(nn.Module):
    def __init__(
        self, config: AutoencoderConfig, inputs: int, outputs: int, *, doubles_space: bool, doubles_time: bool
    ) -> None:
        super().__init__()
        widths = [inputs] + [outputs] * (config.layers_per_block + 1)
        self.resnets = nn.ModuleList(DecoderResnet(config, *pair) for pair in pairwise(widths))
        self.upsample = Upsample(outputs, doubles_time=doubles_time) if doubles_space else None

    def forward(self, hidden: Tensor, latents_BCTHW: Tensor, past: Past) -> Tensor:
        for resnet in self.resnets:
            hidden = resnet(hidden, latents_BCTHW, past)
        return hidden if self.upsample is None else self.upsample(hidden, past)


class DecoderResnet(nn.Module):
    def __init__(self, config: AutoencoderConfig, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm1 = ActivatedLatentNorm(config, inputs)
        self.conv1 = CausalConv3d(inputs, outputs, 3)
        self.norm2 = ActivatedLatentNorm(config, outputs)
        self.conv2 = CausalConv3d(outputs, outputs, 3)
        self.shortcut = nn.Conv3d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, hidden: Tensor, latents_BCTHW: Tensor, past: Past) -> Tensor:
        residual = self.conv1.convolve(self.norm1(hidden, latents_BCTHW, past), past)
        residual = self.conv2.convolve(self.norm2(residual, latents_BCTHW, past), past)
        return residual.add_(self.shortcut(hidden))


class ActivatedLatentNorm(nn.Module):
    """Group norm, scaled and shifted by the decoder's own input (MoVQ's spatial norm), then SiLU.

    Like ActivatedNorm, it leaves room in front for the past of the convolution that follows.
    """

    def __init__(self, config: AutoencoderConfig, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(config.norm_num_groups, channels, config.norm_eps)
        self.scale = nn.Conv3d(config.latent_channels, channels, 1)
        self.shift = nn.Conv3d(config.latent_channels, channels, 1)

    def forward(self, hidden: Tensor, latents_BCTHW: Tensor, past: Past) -> Tensor:
        norm_scale, norm_shift = past.affine(hidden, self.norm)
        # A 1x1x1 convolution commutes with repetition: at latent size it is up to 256 times less work.
        latent_scale = self.scale(latents_BCTHW)
        scale = latent_scale * norm_scale
        shift = torch.addcmul(self.shift(latents_BCTHW), latent_scale, norm_shift)
        frames, _, width = hidden.shape[2:]
        return scale_shift_silu(
            hidden, _stretch(scale, frames, width, past), _stretch(shift, frames, width, past), ROOM
        )


def _stretch(latents_BCTHW: Tensor, frames: int, width: int, past: Past) -> Tensor:
    """Repeat latent frames and columns to a larger size; rows broadcast. Returns [B, C, F, H, 1, W]."""
    num_latents = latents_BCTHW.shape[2]
    alone = int(past.first_frame)
    if frames != num_latents:
        rest = latents_BCTHW[:, :, alone:].repeat_interleave((frames - alone) // (num_latents - alone), dim=2)
        latents_BCTHW = torch.cat([latents_BCTHW[:, :, :alone], rest], dim=2)
    return latents_BCTHW.repeat_interleave(width // latents_BCTHW.shape[4], dim=4).unsqueeze(4)


class Upsample(nn.Module):
    """Double height, width and the frames after the first by repetition; then convolve each frame."""

    def __init__(self, channels: int, *, doubles_time: bool) -> None:
        super().__init__()
        self.doubles_time = doubles_time
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, hidden: Tensor, past: Past) -> Tensor:
        larger = convolve_doubled(hidden, self.conv.weight, self.conv.bias)
        if not self.doubles_time:
            return larger
        # Repeated frames give repeated results, so they are repeated after the convolution.
        alone = int(past.first_frame)
        return torch.cat([larger[:, :, :alone], larger[:, :, alone:].repeat_interleave(2, dim=2)], dim=2)
