"""The autoencoder as generation sees it: pixels to latents and back, in chunks of frames and in tiles."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from reelwright.execution.tiling import Tiling, run_in_tiles
from reelwright.families.cogvideox.autoencoder import CogVideoXAutoencoder
from reelwright.families.cogvideox.config import AutoencoderConfig
from reelwright.media.image_ops import to_uint8
from reelwright.nn.causal_conv3d import chunk_lengths
from reelwright.nn.posterior import Posterior

CHUNK_IS_FIXED = (
    "execution.vae_chunk: the norms of this autoencoder see a fixed number of frames; another number would"
    " change the picture. Use --execution.tiling to save memory."
)
_PIXEL_CHUNK, _LATENT_CHUNK = 8, 2
"""Frames that the released autoencoder takes at a time; its norms depend on it."""


def released_tiling(config: AutoencoderConfig, side: int = 0) -> Tiling:
    """Tiles of half the training size, overlapping by a sixth of their height and a fifth of their width.

    side: of another tile, in pixels; 0 takes the released size.
    """
    stride = config.spatial_stride
    height, width = (
        max((side or sample // 2) // stride, 1) for sample in (config.sample_height, config.sample_width)
    )
    return Tiling(height=height, width=width, overlap_height=height // 6, overlap_width=width // 5)


@dataclass(frozen=True, kw_only=True)
class LatentSpace:
    autoencoder: CogVideoXAutoencoder
    tiling: Tiling | None = None
    whole_clip: bool = False
    """Show the norms the whole clip rather than chunks of it (SAT)."""

    @property
    def scale(self) -> float:
        return self.autoencoder.config.scaling_factor

    def chunk_lengths(self, num_frames: int) -> list[int]:
        """How the frames of a clip are cut for `encode_stream`."""
        return chunk_lengths(num_frames, 0 if self.whole_clip else _PIXEL_CHUNK)

    def encode(self, pixels_BCFHW: Tensor) -> Posterior:
        """The posterior of a clip of 4k+1 frames in [-1, 1], not scaled."""
        chunks = pixels_BCFHW.split(self.chunk_lengths(pixels_BCFHW.shape[2]), dim=2)
        return Posterior(torch.cat(list(self.encode_stream(chunks)), dim=2))

    @torch.no_grad()
    def encode_stream(self, chunks_BCFHW: Iterable[Tensor]) -> Iterator[Tensor]:
        """Yield mean and log-variance, on the channel axis, of one chunk after the other."""
        weight = next(self.autoencoder.parameters())
        pixels = (chunk.to(weight.device, weight.dtype) for chunk in chunks_BCFHW)
        run, stride = self.autoencoder.encode_stream, self.autoencoder.spatial_stride
        yield from run_in_tiles(run, pixels, self.tiling, input_cell=stride, output_cell=1)

    @torch.no_grad()
    def decode(self, latents_BCTHW: Tensor) -> Iterator[Tensor]:
        """Yield chunks of frames, uint8 chunk_FHWC, of one clip of scaled latents."""
        weight = next(self.autoencoder.parameters())
        latents = (latents_BCTHW / self.scale).to(weight.device, weight.dtype)
        chunks = latents.split(
            chunk_lengths(latents.shape[2], 0 if self.whole_clip else _LATENT_CHUNK), dim=2
        )
        run, stride = self.autoencoder.decode_stream, self.autoencoder.spatial_stride
        for chunk in run_in_tiles(run, chunks, self.tiling, input_cell=1, output_cell=stride):
            yield to_uint8(chunk)
