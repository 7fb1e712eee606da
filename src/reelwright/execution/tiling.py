"""Encode and decode in overlapping tiles, all in step, so that a stream over time stays a stream."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor

RunStream = Callable[[Iterable[Tensor]], Iterator[Tensor]]
"""Turns chunks [B, C, T, H, W] into chunks, one for one."""


@dataclass(frozen=True, kw_only=True)
class Tiling:
    """Sizes in latent cells: whatever they are, a tile's pixels and its latents then agree."""

    height: int
    width: int
    overlap_height: int
    overlap_width: int

    def __post_init__(self) -> None:
        if not (0 <= self.overlap_height < self.height and 0 <= self.overlap_width < self.width):
            raise ValueError(f"{self}: an overlap must be smaller than its tile.")


def run_in_tiles(
    run: RunStream, chunks: Iterable[Tensor], tiling: Tiling | None, *, input_cell: int, output_cell: int
) -> Iterator[Tensor]:
    """As `run_tiled`, but plainly where there is no tiling or the frames fit into one tile."""
    if tiling is None:
        return run(chunks)
    stream = iter(chunks)
    first = next(stream)
    height, width = first.shape[3:]
    stream = chain([first], stream)
    if height <= tiling.height * input_cell and width <= tiling.width * input_cell:
        return run(stream)
    return run_tiled(run, stream, tiling, input_cell=input_cell, output_cell=output_cell)


def run_tiled(
    run: RunStream, chunks: Iterable[Tensor], tiling: Tiling, *, input_cell: int, output_cell: int
) -> Iterator[Tensor]:
    """Run a stream per tile and blend the tiles of each chunk.

    input_cell, output_cell: pixels per latent cell on either side (1 for latents). Neighbors are mixed
    linearly over the overlap, the upper one first.
    """
    grid: list[list[_TileStream]] | None = None
    for chunk in chunks:
        rows, columns = chunk.shape[3] // input_cell, chunk.shape[4] // input_cell
        boxes = [
            [_box(top, left, tiling) for left in range(0, columns, tiling.width - tiling.overlap_width)]
            for top in range(0, rows, tiling.height - tiling.overlap_height)
        ]
        if grid is None:
            grid = [[_TileStream(run) for _ in row] for row in boxes]
        tiles = [
            [stream.push(_cut(chunk, box, input_cell)) for stream, box in zip(streams, row, strict=True)]
            for streams, row in zip(grid, boxes, strict=True)
        ]
        yield _blend(tiles, tiling, output_cell)


class _TileStream:
    """A stream that is fed one chunk at a time."""

    def __init__(self, run: RunStream) -> None:
        self._waiting: deque[Tensor] = deque()
        self._results = run(self._arrivals())

    def push(self, chunk: Tensor) -> Tensor:
        self._waiting.append(chunk)
        return next(self._results)

    def _arrivals(self) -> Iterator[Tensor]:
        while self._waiting:
            yield self._waiting.popleft()


def _box(top: int, left: int, tiling: Tiling) -> tuple[slice, slice]:
    return slice(top, top + tiling.height), slice(left, left + tiling.width)


def _cut(chunk: Tensor, box: tuple[slice, slice], cell: int) -> Tensor:
    rows, columns = (slice(side.start * cell, side.stop * cell) for side in box)
    return chunk[:, :, :, rows, columns]


def _blend(tiles: list[list[Tensor]], tiling: Tiling, cell: int) -> Tensor:
    overlap_height, overlap_width = tiling.overlap_height * cell, tiling.overlap_width * cell
    kept_height = tiling.height * cell - overlap_height
    kept_width = tiling.width * cell - overlap_width
    for i, row in enumerate(tiles):
        for j, tile in enumerate(row):
            if i:
                _mix_edge(tiles[i - 1][j], tile, overlap_height, dim=3)
            if j:
                _mix_edge(row[j - 1], tile, overlap_width, dim=4)
    joined = [torch.cat([tile[..., :kept_height, :kept_width] for tile in row], dim=4) for row in tiles]
    return torch.cat(joined, dim=3)


def _mix_edge(before: Tensor, tile: Tensor, extent: int, *, dim: int) -> None:
    """Fade from the end of the tile before into the start of this one, in place."""
    extent = min(extent, before.shape[dim], tile.shape[dim])
    shape = [1] * tile.ndim
    shape[dim] = extent
    weight = (torch.arange(extent, device=tile.device, dtype=tile.dtype) / extent).view(shape)
    start = tile.narrow(dim, 0, extent)
    start.copy_(before.narrow(dim, before.shape[dim] - extent, extent) * (1 - weight) + start * weight)
