"""The autoencoder as generation sees it: pixels to latents and back, in windows of time and in tiles."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from reelwright.execution.tiling import Tiling, run_in_tiles
from reelwright.families.framepack.autoencoder import FramePackAutoencoder
from reelwright.families.framepack.causal_convolution import Stream
from reelwright.media.image_ops import to_uint8
from reelwright.nn.posterior import Posterior
from reelwright.protocols.configs import ExecutionConfig

_RELEASED_TILE = 256
"""Pixels of a tile's side; a quarter of it overlaps (specs: FramePack 3.3)."""


@dataclass(frozen=True, kw_only=True)
class LatentSpace:
    autoencoder: FramePackAutoencoder
    tiling: Tiling | None = None
    piece: int = 0
    """Frames that a layer takes at a time, for less memory and the same result; 0 chooses."""

    @property
    def scale(self) -> float:
        return self.autoencoder.config.scaling_factor

    @property
    def num_channels(self) -> int:
        return self.autoencoder.config.latent_channels

    @torch.no_grad()
    def encode(self, pixels_BCFHW: Tensor) -> Posterior:
        """The posterior of a clip of 4k+1 frames in [-1, 1], not scaled."""
        weight = next(self.autoencoder.parameters())
        pixels = pixels_BCFHW.to(weight.device, weight.dtype)
        stride = self.autoencoder.spatial_stride
        (moments,) = run_in_tiles(self._encode_each, [pixels], self.tiling, input_cell=stride, output_cell=1)
        return Posterior(moments)

    @torch.no_grad()
    def decode(self, latents_BCTHW: Tensor) -> Tensor:
        """The pixels of scaled latents, all at once."""
        weight = next(self.autoencoder.parameters())
        latents = (latents_BCTHW / self.scale).to(weight.device, weight.dtype)
        stride = self.autoencoder.spatial_stride
        (pixels,) = run_in_tiles(self._decode_each, [latents], self.tiling, input_cell=1, output_cell=stride)
        return pixels

    @torch.no_grad()
    def decode_windows(
        self, latents_BCTHW: Tensor, windows: Sequence[tuple[int, int]], fade: int
    ) -> Iterator[Tensor]:
        """Yield chunks of frames, uint8 chunk_FHWC, of one clip of scaled latents cut into windows.

        windows: (start, stop) in time order; the frames of neighbors overlap by `fade`, and are faded
        linearly from the earlier to the later one (specs: FramePack 2.6). Memory is that of one window.
        """
        ending: Tensor | None = None
        for number, (start, stop) in enumerate(windows, start=1):
            frames = self.decode(latents_BCTHW[:, :, start:stop])
            if ending is not None:
                _fade_in(frames[:, :, :fade], ending)
            if number < len(windows):
                ending = frames[:, :, -fade:].clone()
                frames = frames[:, :, :-fade]
            if frames.shape[2]:
                yield to_uint8(frames)

    def _encode_each(self, chunks: Iterable[Tensor]) -> Iterator[Tensor]:
        for pixels in chunks:
            yield self.autoencoder.moments(pixels, Stream(piece=self.piece))

    def _decode_each(self, chunks: Iterable[Tensor]) -> Iterator[Tensor]:
        for latents in chunks:
            yield self.autoencoder.decode(latents, chunk=self.piece)


def open_space(autoencoder: FramePackAutoencoder, execution: ExecutionConfig) -> LatentSpace:
    """The latent space as the execution options want it."""
    tiling = None
    if execution.tiling:
        side = max((execution.tile_size or _RELEASED_TILE) // autoencoder.spatial_stride, 4)
        tiling = Tiling(height=side, width=side, overlap_height=side // 4, overlap_width=side // 4)
    return LatentSpace(autoencoder=autoencoder, tiling=tiling, piece=execution.vae_chunk)


def _fade_in(frames_BCFHW: Tensor, before_BCFHW: Tensor) -> None:
    """Mix, in place, from the frames before into these."""
    count = frames_BCFHW.shape[2]
    weight = torch.linspace(1, 0, count, dtype=frames_BCFHW.dtype, device=frames_BCFHW.device)
    weight = weight.view(1, 1, count, 1, 1)
    frames_BCFHW.copy_(weight * before_BCFHW + (1 - weight) * frames_BCFHW)
