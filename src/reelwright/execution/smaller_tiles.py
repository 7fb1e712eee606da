"""Tiles that get smaller whenever memory runs out."""

import gc
from collections.abc import Callable
from typing import TypeVar

import torch

from reelwright.core.errors import is_out_of_memory
from reelwright.execution.tiling import Tiling

T = TypeVar("T")

SMALLEST = 64
"""Pixels of a tile's side below which memory is not what is missing."""
RAISED = (RuntimeError, MemoryError)
"""What libraries raise for want of memory, among other things."""


class SmallerTiles:
    """The tiles in which one autoencoder works: as they were asked for, until memory runs out.

    What did not fit once would not fit the next time, so they never grow again.
    """

    def __init__(
        self, asked: Tiling | None, cut: Callable[[int], Tiling] | None = None, *, cell: int = 1
    ) -> None:
        """`cut` makes tiles of so many pixels a side, 0 for the released ones; a latent cell has `cell`.

        Without it tiles stay as they are, and want of memory is an error.
        """
        self.tiling = self._asked = asked
        self._cut = cut
        self._cell = cell
        self._untold: list[str] = []

    def lessen(self, rows: int, columns: int) -> str:
        """Have smaller tiles for frames of so many latent cells; what was done, or "" if they are small."""
        smaller = self._next(rows, columns)
        if smaller is None:
            return ""
        self.tiling = smaller
        return f"Memory ran out: once more in {self._in_words()}. Seams are possible."

    def until_it_fits(self, work: Callable[[Tiling | None], T], rows: int, columns: int) -> T:
        """What `work` makes in tiles, which are smaller each time that it runs out of memory.

        Raises what it raises for other reasons, or in the smallest tiles.
        """
        while True:
            try:
                return work(self.tiling)
            except RAISED as error:
                change = self.lessen(rows, columns) if is_out_of_memory(error) else ""
                if not change:
                    raise
            self._untold.append(change)
            release_memory()

    def unasked(self) -> tuple[str, ...]:
        """For the record: the tiles, if they are others than were asked for."""
        return () if self.tiling is self._asked else (f"{self._in_words()}, since memory ran out",)

    def take_notices(self) -> list[str]:
        """What `until_it_fits` did since this was asked last."""
        told, self._untold = self._untold, []
        return told

    def _in_words(self) -> str:
        assert self.tiling is not None
        height, width = self.tiling.height * self._cell, self.tiling.width * self._cell
        return f"tiles of {height} x {width} pixels"

    def _next(self, rows: int, columns: int) -> Tiling | None:
        """The largest tiles that are smaller than the frames and than the tiles before."""
        if self._cut is None:
            return None
        before = self.tiling
        tallest = rows if before is None else min(before.height, rows)
        widest = columns if before is None else min(before.width, columns)
        released = self._cut(0)
        fits = released.height <= tallest and released.width <= widest
        if fits and released.height * released.width < tallest * widest:
            return released
        side = max(max(tallest, widest) * self._cell // 2 // self._cell * self._cell, SMALLEST)
        smaller = self._cut(side)
        is_smaller = smaller.height < tallest or smaller.width < widest
        return smaller if is_smaller else None


def release_memory() -> None:
    """Give back what nothing holds any more, so that the next try finds it."""
    gc.collect()
    torch.cuda.empty_cache()
