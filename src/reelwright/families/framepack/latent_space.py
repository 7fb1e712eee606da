"""The autoencoder as generation sees it: pixels to latents and back, in tiles and in windows over time."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import count, pairwise

import torch
from torch import Tensor

from reelwright.execution.smaller_tiles import SmallerTiles
from reelwright.execution.tiling import RunStream, Tiling, run_in_tiles
from reelwright.families.framepack.autoencoder import FramePackAutoencoder
from reelwright.families.framepack.clip_statistics import ClipStatistics
from reelwright.families.framepack.config import AutoencoderConfig
from reelwright.media.image_ops import to_uint8
from reelwright.nn.posterior import Posterior
from reelwright.protocols.configs import AutoencodingConfig

_RELEASED_TILE = 256

Window = tuple[int, int]
"""Latent frames that are decoded together: start, stop."""

_CHUNK = 8
"""Frames that become bytes at a time."""


def square_tiling(config: AutoencoderConfig, side: int = 0) -> Tiling:
    """Tiles of `side` pixels, 0 for the released 256, of which neighbors share a quarter (FramePack 3.3)."""
    cells = max((side or _RELEASED_TILE) // config.spatial_stride, 1)
    return Tiling(height=cells, width=cells, overlap_height=cells // 4, overlap_width=cells // 4)


@dataclass(frozen=True, kw_only=True)
class LatentSpace:
    autoencoder: FramePackAutoencoder
    tiling: Tiling | None = None
    """Work in tiles, which saves memory and approximates: norms and attention see one tile."""
    smaller: SmallerTiles | None = None
    """Take these tiles instead, which get smaller when memory runs out; without, that is an error."""
    arrive: Callable[[], object] = lambda: None
    """Brings the autoencoder to where it works."""
    chunk: int = 0
    """Frames that a layer takes at a time, for less memory and the same result; 0 chooses."""

    @property
    def tiles(self) -> SmallerTiles:
        """Those that it works in."""
        return self.smaller or SmallerTiles(self.tiling)

    @property
    def scale(self) -> float:
        return self.autoencoder.config.scaling_factor

    @property
    def num_channels(self) -> int:
        return self.autoencoder.config.latent_channels

    @torch.no_grad()
    def encode(self, pixels_BCFHW: Tensor) -> Posterior:
        """The posterior of a clip of 4k+1 frames in [-1, 1], not scaled."""
        weight = self._weight
        stride = self.autoencoder.spatial_stride

        def encode(tiling: Tiling | None) -> Tensor:
            clips = [pixels_BCFHW.to(weight.device, weight.dtype)]
            (moments,) = run_in_tiles(self._encode_each, clips, tiling, input_cell=stride, output_cell=1)
            return moments

        rows, columns = (side // stride for side in pixels_BCFHW.shape[3:])
        return Posterior(self.tiles.until_it_fits(encode, rows, columns))

    @torch.no_grad()
    def encode_stream(self, chunks_BCFHW: Iterable[Tensor]) -> Iterator[Tensor]:
        """Yield mean and log-variance, on the channel axis, of each chunk of a clip of 4k+1 frames.

        A clip in one chunk is encoded as `encode` does. Of several chunks, the first has 4k+1 frames, others
        4k: one is in memory at a time, and the result is near to that of the clip as a whole.
        """
        yield from self._in_tiles(partial(self.autoencoder.encode_stream, piece=self.chunk), chunks_BCFHW)

    @torch.no_grad()
    def encode_in_passes(
        self, chunks_BCFHW: Callable[[], Iterable[Tensor]], num_passes: int
    ) -> Iterator[Tensor]:
        """As `encode_stream`, after passes over the same chunks that only tell norms what the clip is like.

        chunks_BCFHW gives them anew for each pass. One pass is what `encode_stream` does. Each tile has its
        own norms, and so its own statistics.
        """
        if num_passes == 1:
            yield from self.encode_stream(chunks_BCFHW())
            return
        statistics: list[ClipStatistics] = []
        for _ in range(num_passes - 1):
            for _ in self._in_tiles(self._one_pass(statistics), chunks_BCFHW()):
                pass
        yield from self._in_tiles(self._one_pass(statistics), chunks_BCFHW())

    def _one_pass(self, statistics: list[ClipStatistics]) -> RunStream:
        """Streams of tiles, which are opened in the same order in each pass."""
        number = count()

        def run(chunks_BCFHW: Iterable[Tensor]) -> Iterator[Tensor]:
            tile = next(number)
            if tile == len(statistics):
                statistics.append(ClipStatistics())
            statistics[tile].start_pass()
            return self.autoencoder.encode_stream(chunks_BCFHW, piece=self.chunk, statistics=statistics[tile])

        return run

    def _in_tiles(self, run: RunStream, chunks_BCFHW: Iterable[Tensor]) -> Iterator[Tensor]:
        weight = self._weight
        pixels = (chunk.to(weight.device, weight.dtype) for chunk in chunks_BCFHW)
        stride = self.autoencoder.spatial_stride
        return run_in_tiles(run, pixels, self.tiles.tiling, input_cell=stride, output_cell=1)

    def decode(self, latents_BCTHW: Tensor) -> Iterator[Tensor]:
        """Yield the frames, uint8 chunk_FHWC, of one clip of scaled latents, all decoded at once."""
        return self.decode_windows(latents_BCTHW, [(0, latents_BCTHW.shape[2])], fade=0)

    @torch.no_grad()
    def decode_windows(self, latents_BCTHW: Tensor, windows: Sequence[Window], fade: int) -> Iterator[Tensor]:
        """Yield the frames, uint8 chunk_FHWC, of scaled latents that are decoded window by window.

        windows: ascending in time. Neighbors share `fade` frames, over which the earlier one fades out
        linearly (specs: FramePack 2.6). One window is in memory at a time, and the end of the one before.
        Raises ValueError where neighbors share another number of frames.
        """
        _check_windows(windows, fade)
        ending: Tensor | None = None
        for number, (start, stop) in enumerate(windows, 1):
            frames = self._decode_window(latents_BCTHW[:, :, start:stop])
            if ending is not None:
                _fade_in(ending, frames[:, :, :fade])
            num_finished = frames.shape[2] - (fade if number < len(windows) else 0)
            yield from map(to_uint8, frames[:, :, :num_finished].split(_CHUNK, dim=2))
            ending = frames[:, :, num_finished:].clone()
            del frames

    def _decode_window(self, latents_BCTHW: Tensor) -> Tensor:
        weight = self._weight
        clips = [(latents_BCTHW / self.scale).to(weight.device, weight.dtype)]
        stride = self.autoencoder.spatial_stride
        (pixels,) = run_in_tiles(
            self._decode_each, clips, self.tiles.tiling, input_cell=1, output_cell=stride
        )
        return pixels

    @property
    def _weight(self) -> Tensor:
        """One that tells where to compute, and in which format."""
        self.arrive()
        return next(self.autoencoder.parameters())

    def _encode_each(self, clips: Iterable[Tensor]) -> Iterator[Tensor]:
        for clip in clips:
            yield self.autoencoder.moments(clip, chunk=self.chunk)

    def _decode_each(self, clips: Iterable[Tensor]) -> Iterator[Tensor]:
        for clip in clips:
            yield self.autoencoder.decode(clip, chunk=self.chunk)


def open_space(autoencoder: FramePackAutoencoder, execution: AutoencodingConfig) -> LatentSpace:
    """The latent space as the execution options want it."""
    tiling = square_tiling(autoencoder.config, execution.tile_size) if execution.tiling else None
    return LatentSpace(autoencoder=autoencoder, tiling=tiling, chunk=execution.vae_chunk)


def open_sparing_space(autoencoder: FramePackAutoencoder, execution: AutoencodingConfig) -> LatentSpace:
    """The same, which works on in smaller tiles when memory runs out."""
    space, config = open_space(autoencoder, execution), autoencoder.config
    cut = partial(square_tiling, config)
    return replace(space, smaller=SmallerTiles(space.tiling, cut, cell=config.spatial_stride))


def _check_windows(windows: Sequence[Window], fade: int) -> None:
    for before, after in pairwise(windows):
        # A window's first latent frame is the last of the four frames that it is within a clip.
        shared = 4 * (before[1] - 1 - after[0]) + 1
        if shared != fade:
            raise ValueError(f"windows {before} and {after} share {shared} frames, expected {fade}")


def _fade_in(before_BCFHW: Tensor, frames_BCFHW: Tensor) -> None:
    """Mix the end of the window before into the first frames of this one, in place."""
    weight = torch.linspace(1, 0, frames_BCFHW.shape[2], device=frames_BCFHW.device)[:, None, None]
    frames_BCFHW.copy_(before_BCFHW * weight + frames_BCFHW * (1 - weight))
