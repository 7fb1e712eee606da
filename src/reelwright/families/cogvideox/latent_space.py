"""The autoencoder as generation sees it: pixels to latents and back, in chunks of frames and in tiles."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from reelwright.execution.smaller_tiles import SmallerTiles
from reelwright.execution.tiling import Tiling, run_in_tiles
from reelwright.families.cogvideox.autoencoder import CogVideoXAutoencoder
from reelwright.families.cogvideox.config import AutoencoderConfig
from reelwright.media.image_ops import to_uint8
from reelwright.nn.causal_conv3d import chunk_lengths
from reelwright.nn.posterior import Posterior
from reelwright.protocols.configs import AutoencodingConfig

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


def chosen_tiling(config: AutoencoderConfig, execution: AutoencodingConfig) -> Tiling | None:
    """The tiles that the execution options ask for."""
    return released_tiling(config, execution.tile_size) if execution.tiling else None


def sparing_tiles(config: AutoencoderConfig, execution: AutoencodingConfig) -> SmallerTiles:
    """The same, and smaller ones when memory runs out."""
    asked = chosen_tiling(config, execution)
    return SmallerTiles(asked, partial(released_tiling, config), cell=config.spatial_stride)


@dataclass(frozen=True, kw_only=True)
class LatentSpace:
    autoencoder: CogVideoXAutoencoder
    tiling: Tiling | None = None
    smaller: SmallerTiles | None = None
    """Take these tiles instead, which get smaller when memory runs out; without, that is an error."""
    arrive: Callable[[], object] = lambda: None
    """Brings the autoencoder to where it works."""
    whole_clip: bool = False
    """Show the norms the whole clip rather than chunks of it (SAT)."""

    @property
    def tiles(self) -> SmallerTiles:
        """Those that it works in."""
        return self.smaller or SmallerTiles(self.tiling)

    @property
    def scale(self) -> float:
        return self.autoencoder.config.scaling_factor

    def chunk_lengths(self, num_frames: int) -> list[int]:
        """How the frames of a clip are cut for `encode_stream`."""
        return chunk_lengths(num_frames, 0 if self.whole_clip else _PIXEL_CHUNK)

    def encode(self, pixels_BCFHW: Tensor) -> Posterior:
        """The posterior of a clip of 4k+1 frames in [-1, 1], not scaled."""
        chunks = pixels_BCFHW.split(self.chunk_lengths(pixels_BCFHW.shape[2]), dim=2)

        def encode(tiling: Tiling | None) -> Tensor:
            return torch.cat(list(self._encode_stream(chunks, tiling)), dim=2)

        stride = self.autoencoder.spatial_stride
        rows, columns = (side // stride for side in pixels_BCFHW.shape[3:])
        return Posterior(self.tiles.until_it_fits(encode, rows, columns))

    def encode_stream(self, chunks_BCFHW: Iterable[Tensor]) -> Iterator[Tensor]:
        """Yield mean and log-variance, on the channel axis, of one chunk after the other."""
        return self._encode_stream(chunks_BCFHW, self.tiles.tiling)

    @torch.no_grad()
    def _encode_stream(self, chunks_BCFHW: Iterable[Tensor], tiling: Tiling | None) -> Iterator[Tensor]:
        weight = self._weight
        pixels = (chunk.to(weight.device, weight.dtype) for chunk in chunks_BCFHW)
        run, stride = self.autoencoder.encode_stream, self.autoencoder.spatial_stride
        yield from run_in_tiles(run, pixels, tiling, input_cell=stride, output_cell=1)

    @torch.no_grad()
    def decode(self, latents_BCTHW: Tensor) -> Iterator[Tensor]:
        """Yield chunks of frames, uint8 chunk_FHWC, of one clip of scaled latents.

        Where memory runs out, have `tiles` lessen and begin again.
        """
        weight = self._weight
        latents = (latents_BCTHW / self.scale).to(weight.device, weight.dtype)
        chunks = latents.split(
            chunk_lengths(latents.shape[2], 0 if self.whole_clip else _LATENT_CHUNK), dim=2
        )
        run, stride = self.autoencoder.decode_stream, self.autoencoder.spatial_stride
        for chunk in run_in_tiles(run, chunks, self.tiles.tiling, input_cell=1, output_cell=stride):
            yield to_uint8(chunk)

    @property
    def _weight(self) -> Tensor:
        """One that tells where to compute, and in which format."""
        self.arrive()
        return next(self.autoencoder.parameters())
