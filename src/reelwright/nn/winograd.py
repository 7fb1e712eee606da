"""3x3x3 convolution on a processor with a quarter of the multiplications: Winograd's F(4x4, 3x3).

Tiles of 6 x 6 pixels become 36 numbers of which each is a matrix product over channels; those become 4 x 4
pixels (arXiv 1509.09308). The points 0, +-sqrt(1/2), +-sqrt(2) and infinity keep float32 sums within three
times the error of the direct way; with the usual 0, +-1, +-2 it would be ten times.
"""

import math
from collections.abc import Sequence
from itertools import product

import torch
from torch import Tensor

from reelwright.nn.threads import share_out

_TILE, _MARGIN = 4, 2
_SIDE = _TILE + _MARGIN
_NUM_PRODUCTS = _SIDE**2
_MIN_CHANNELS = 32
"""With fewer, moving the numbers takes longer than multiplying them."""
_BLOCK_VALUES = 1 << 20
"""Of a block of tiles, so that it stays in the processor's cache."""
_BLOCK_TILES = 32
"""At least: each block reads all weights once."""

_INNER, _OUTER = 0.5, 2.0
"""Squares of the points."""
_A, _B = math.sqrt(_INNER), math.sqrt(_OUTER)
_SUM, _PRODUCT = _INNER + _OUTER, _INNER * _OUTER
_NORM_A, _NORM_B = 2 * _INNER * (_INNER - _OUTER), 2 * _OUTER * (_OUTER - _INNER)
_FROM_PIXELS = (
    (_PRODUCT, 0, -_SUM, 0, 1, 0),
    (0, -_A * _OUTER, -_OUTER, _A, 1, 0),
    (0, _A * _OUTER, -_OUTER, -_A, 1, 0),
    (0, -_B * _INNER, -_INNER, _B, 1, 0),
    (0, _B * _INNER, -_INNER, -_B, 1, 0),
    (0, _PRODUCT, 0, -_SUM, 0, 1),
)
_FROM_KERNEL = (
    (1 / _PRODUCT, 0, 0),
    (1 / _NORM_A, _A / _NORM_A, _INNER / _NORM_A),
    (1 / _NORM_A, -_A / _NORM_A, _INNER / _NORM_A),
    (1 / _NORM_B, _B / _NORM_B, _OUTER / _NORM_B),
    (1 / _NORM_B, -_B / _NORM_B, _OUTER / _NORM_B),
    (0, 0, 1),
)
_TO_PIXELS = (
    (1, 1, 1, 1, 1, 0),
    (0, _A, -_A, _B, -_B, 0),
    (0, _INNER, _INNER, _OUTER, _OUTER, 0),
    (0, _A**3, -(_A**3), _B**3, -(_B**3), 1),
)


def lay_out(frames_BCFHW: Tensor) -> Tensor:
    """The frames with channels innermost in memory where `is_suited` asks for it: float32 on a processor."""
    if frames_BCFHW.device.type != "cpu" or frames_BCFHW.dtype != torch.float32:
        return frames_BCFHW
    # Always a copy: of one clip, what counts as so laid out already may have strides that others doubt.
    return frames_BCFHW.clone(memory_format=torch.channels_last_3d)


def is_suited(frames_BCFHW: Tensor, weight: Tensor) -> bool:
    """Whether `convolve_tiles` is right and fast here: float32 on a processor, no gradients, channels that
    lie innermost in memory and are many."""
    return (
        frames_BCFHW.device.type == "cpu"
        and frames_BCFHW.dtype == weight.dtype == torch.float32
        and frames_BCFHW.stride(1) == 1
        and min(weight.shape[:2]) >= _MIN_CHANNELS
        and weight.shape[2:] == (3, 3, 3)
        and not (torch.is_grad_enabled() and (frames_BCFHW.requires_grad or weight.requires_grad))
    )


def convolve_tiles(frames_BCFHW: Tensor, weight: Tensor, bias: Tensor, *, padding: int = 1) -> Tensor:
    """As conv3d with zero padding in space and none in time; channels lie innermost in memory.

    padding: pixels, 0 where the frames have their border already. Beside the result it needs about 20 MB for
    each thread, and four times the weights.
    """
    kernel = _transformed_kernel(weight.detach())
    frames_BFHWC = frames_BCFHW.detach().permute(0, 2, 3, 4, 1)
    clips = [_convolve_clip(frames_FHWC, kernel, bias.detach(), padding) for frames_FHWC in frames_BFHWC]
    return (
        torch.stack(clips).permute(0, 4, 1, 2, 3) if len(clips) > 1 else clips[0][None].permute(0, 4, 1, 2, 3)
    )


def _transformed_kernel(weight: Tensor) -> Tensor:
    """[36, 3, C, D] of [D, C, 3, 3, 3]."""
    outputs, inputs = weight.shape[:2]
    taps = weight.permute(2, 1, 0, 3, 4).reshape(-1, 9)
    return (_both_ways(_FROM_KERNEL) @ taps.T).view(_NUM_PRODUCTS, 3, inputs, outputs)


def _convolve_clip(frames_FHWC: Tensor, kernel: Tensor, bias: Tensor, padding: int) -> Tensor:
    num_frames, *sides, channels = frames_FHWC.shape
    height, width = (side - _MARGIN + 2 * padding for side in sides)
    outputs = len(bias)
    rows, columns = -(-height // _TILE), -(-width // _TILE)
    result = frames_FHWC.new_empty(num_frames - 2, rows * _TILE, columns * _TILE, outputs)
    by_tile = result.unflatten(2, (columns, _TILE)).unflatten(1, (rows, _TILE))
    block_rows, block_columns = _block(rows, columns, num_frames * _NUM_PRODUCTS * max(channels, outputs))

    def convolve_blocks(starts: Sequence[tuple[int, int]]) -> None:
        block = _Block(frames_FHWC, kernel, block_rows, block_columns)
        for top, left in starts:
            place = by_tile[:, top : top + block_rows, :, left : left + block_columns]
            tiles = block.convolve(top * _TILE - padding, left * _TILE - padding)
            torch.add(tiles[:, : place.shape[1], :, : place.shape[3]], bias, out=place)

    starts = list(product(range(0, rows, block_rows), range(0, columns, block_columns)))
    share_out(convolve_blocks, starts, frames_FHWC)
    return result[:, :height, :width]


def _block(rows: int, columns: int, values_per_tile: int) -> tuple[int, int]:
    """Rows and columns of tiles that are done together: blocks of about the same size."""
    num_tiles = max(_BLOCK_VALUES // values_per_tile, _BLOCK_TILES)
    num_across = -(-columns // num_tiles)
    num_down = -(-rows // max(num_tiles // columns, 1))
    return -(-rows // num_down), -(-columns // num_across)


class _Block:
    """Memory for one block of tiles, used for all: fresh memory would cost more than the arithmetic."""

    def __init__(self, frames_FHWC: Tensor, kernel: Tensor, rows: int, columns: int) -> None:
        self._frames = frames_FHWC
        self._kernel = kernel
        num_frames, channels, outputs = len(frames_FHWC), frames_FHWC.shape[-1], kernel.shape[-1]
        self._pixels = frames_FHWC.new_empty(
            num_frames, rows * _TILE + _MARGIN, columns * _TILE + _MARGIN, channels
        )
        tiles = self._pixels.unfold(1, _SIDE, _TILE).unfold(2, _SIDE, _TILE)
        self._tiles = tiles.permute(4, 5, 0, 1, 2, 3)
        self._gathered = frames_FHWC.new_empty(self._tiles.shape)
        self._transformed = frames_FHWC.new_empty(_NUM_PRODUCTS, num_frames, rows * columns, channels)
        num_outputs = num_frames - 2
        self._products = frames_FHWC.new_empty(_NUM_PRODUCTS, num_outputs * rows * columns, outputs)
        self._results = frames_FHWC.new_empty(_TILE, _TILE, num_outputs, rows, columns, outputs)
        self._from_pixels, self._to_pixels = _both_ways(_FROM_PIXELS), _both_ways(_TO_PIXELS)

    def convolve(self, top: int, left: int) -> Tensor:
        """Results by tile, [F - 2, rows, 4, columns, 4, D], of the pixels from `top` and `left` on."""
        self._take(top, left)
        self._gathered.copy_(self._tiles)
        flat = self._gathered.view(_NUM_PRODUCTS, -1)
        torch.mm(self._from_pixels, flat, out=self._transformed.view(_NUM_PRODUCTS, -1))
        num_outputs = len(self._frames) - 2
        for tap in range(3):
            frames = self._transformed[:, tap : tap + num_outputs].flatten(1, 2)
            torch.baddbmm(self._products, frames, self._kernel[:, tap], beta=min(tap, 1), out=self._products)
        torch.mm(
            self._to_pixels,
            self._products.view(_NUM_PRODUCTS, -1),
            out=self._results.view(_TILE**2, -1),
        )
        return self._results.permute(2, 3, 0, 4, 1, 5)

    def _take(self, top: int, left: int) -> None:
        """Copy pixels; those outside the frame are zero."""
        height, width = self._frames.shape[1:3]
        bottom, right = top + self._pixels.shape[1], left + self._pixels.shape[2]
        if top < 0 or left < 0 or bottom > height or right > width:
            self._pixels.zero_()
        inside = self._frames[:, max(top, 0) : bottom, max(left, 0) : right]
        rows, columns = inside.shape[1:3]
        self._pixels[:, max(-top, 0) :][:, :rows, max(-left, 0) :][:, :, :columns] = inside


def _both_ways(matrix: tuple[tuple[float, ...], ...]) -> Tensor:
    """One matrix for rows and columns at once."""
    exact = torch.tensor(matrix, dtype=torch.float64)
    return torch.kron(exact, exact).float()
