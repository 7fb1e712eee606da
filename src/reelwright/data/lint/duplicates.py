"""Clips that are there more than once, found without comparing all with all."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from reelwright.data.lint.likeness import NUM_MOMENTS

_BITS = 64 * NUM_MOMENTS
_BAND = 16
"""Bits that items are sorted by first. Two that differ in fewer bits than there are bands share a band."""
_NEIGHBORS = 8
"""How far apart in sorted order two items are compared."""
_MOST_BITS = 8 * NUM_MOMENTS
"""Bits in which the hashes of two alike clips differ: 8 of 64 for each frame, as is usual for such hashes."""

Hashes = NDArray[np.uint64]
"""[items, NUM_MOMENTS]."""


def near_pairs(hashes: Hashes) -> Iterator[tuple[int, int]]:
    """Pairs of items (smaller first) whose hashes are nearly equal; some come several times.

    Sorts the items once for each band of 16 bits, by that band and the bits after it, and compares neighbors
    (sorted neighborhoods; compare Charikar 2002). Pairs that differ in up to 15 bits share a band; of those
    that differ in 24 random bits 98 of 100 do. Time grows with n log n, memory with n.
    """
    for band in range(_BITS // _BAND):
        yield from _neighbors(hashes, _order_from(hashes, band * _BAND))


def _neighbors(hashes: Hashes, order: NDArray[np.intp]) -> Iterator[tuple[int, int]]:
    for apart in range(1, min(_NEIGHBORS, len(order) - 1) + 1):
        one, other = order[:-apart], order[apart:]
        differing = np.bitwise_count(hashes[one] ^ hashes[other]).sum(axis=1, dtype=np.int64)
        for index in np.flatnonzero(differing <= _MOST_BITS):
            first, second = sorted((int(one[index]), int(other[index])))
            yield first, second


def _order_from(hashes: Hashes, bit: int) -> NDArray[np.intp]:
    """The items sorted by their bits from `bit` on, around the end to its beginning."""
    word, shift = divmod(bit, 64)
    words = [hashes[:, (word + step) % NUM_MOMENTS] for step in range(NUM_MOMENTS)]
    # What was shifted out of the first word counts last, where order no longer matters much: it is left out.
    words[0] = words[0] << np.uint64(shift)
    return np.lexsort(words[::-1])


class Groups:
    """Which items are one: the first of each group stands for it (union-find)."""

    def __init__(self) -> None:
        self._above: dict[int, int] = {}

    def first(self, item: int) -> int:
        above = self._above.get(item, item)
        while above != (higher := self._above.get(above, above)):
            above = higher
        if above != item:
            self._above[item] = above
        return above

    def join(self, one: int, other: int) -> None:
        low, high = sorted((self.first(one), self.first(other)))
        if low != high:
            self._above[high] = low

    def members(self) -> Iterator[tuple[int, int]]:
        """Each item that is not the first of its group, with the first."""
        for item in sorted(self._above):
            yield item, self.first(item)
