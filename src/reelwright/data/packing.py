"""Packs of items of different size, none larger than a number of tokens: first fit decreasing.

Which sizes share a pack is the same in every epoch, so that all epochs have equally many packs; which items
they are follows from seed and epoch.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from reelwright.core.errors import ConfigError
from reelwright.data.batches import (
    EpochOrder,
    Integers,
    Supply,
    draws_of_groups,
    every_draw,
    in_another_order,
)
from reelwright.data.cached_items import CachedItems


@dataclass(frozen=True, kw_only=True)
class PackPlan:
    """The packs of an epoch, for all ranks together."""

    capacity: int
    """Tokens of a pack at most."""
    tokens: Integers
    """For each group of the supply those of an item."""
    slots: Integers
    """For each place in a pack, pack after pack, the tokens of the item that comes there."""
    starts: NDArray[np.int64]
    """Where packs start among the slots, and the last ends."""

    @property
    def num_packs(self) -> int:
        return len(self.starts) - 1

    @property
    def waste(self) -> float:
        """The share that stays empty of all packs but the least full one, which is the rest."""
        used = np.sort(np.add.reduceat(self.slots, self.starts[:-1], dtype=np.int64))
        return 1.0 - float(used[min(1, len(used) - 1) :].mean()) / self.capacity


def tokens_of_groups(items: CachedItems, count: Callable[[Mapping[str, Tensor]], int]) -> Integers:
    """For each group what `count` says of its first item; items of a group are of one size."""
    groups, first = np.unique(items.supply.groups, return_index=True)
    tokens = np.zeros(len(items.supply.num_repeats), np.int32)
    for group, file in zip(groups, first, strict=True):
        tokens[group] = count(items.read(int(file), 0, seed=0, epoch=0).tensors)
    return tokens


def plan_packs(supply: Supply, tokens: Integers, capacity: int) -> PackPlan:
    """The packs of all items. Raises ConfigError where one is larger than a pack."""
    draws = draws_of_groups(supply)
    if (largest := int(tokens[draws > 0].max(initial=0))) > capacity:
        raise ConfigError(
            f"packing.tokens: {capacity:,} are too few for items of {largest:,} tokens. Give {largest:,} or"
            " more: with several times as many little of a pack stays empty."
        )
    sizes, which = np.unique(tokens, return_inverse=True)
    counts = np.bincount(which, draws, minlength=len(sizes)).astype(np.int64)
    slots: list[Integers] = []
    lengths: list[NDArray[np.int64]] = []
    for taken, times in _fill(sizes[::-1].tolist(), counts[::-1].tolist(), capacity):
        pack = np.repeat(sizes[::-1], taken).astype(np.int32)
        slots.append(np.tile(pack, times))
        lengths.append(np.full(times, len(pack), np.int64))
    return PackPlan(
        capacity=capacity,
        tokens=tokens,
        slots=np.concatenate(slots),
        starts=np.append(0, np.cumsum(np.concatenate(lengths))),
    )


def packed_order(supply: Supply, plan: PackPlan, seed: int, epoch: int) -> EpochOrder:
    """All items `num_repeats` times, shuffled among those of their size, and the packs shuffled.

    As `epoch_order` it follows from the arguments alone, on any machine.
    """
    bits = np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(epoch,)))
    files, draws = every_draw(supply)
    by_chance = np.lexsort((bits.random_raw(len(files)), plan.tokens[supply.groups[files]]))
    filled = np.empty_like(by_chance)
    filled[np.argsort(plan.slots, kind="stable")] = by_chance
    packs = np.argsort(bits.random_raw(plan.num_packs), kind="stable")
    place, starts = in_another_order(plan.starts, packs)
    chosen = filled[place]
    return EpochOrder(files=files[chosen], draws=draws[chosen], starts=starts)


def _fill(sizes: list[int], counts: list[int], capacity: int) -> Iterator[tuple[list[int], int]]:
    """How many items of each size, from the largest, are in a pack, and how many packs are so.

    A pack is filled with the largest that fits until nothing does: what first fit decreasing comes to when it
    is looked at pack by pack. The next one is like it while there is enough of each size.
    """
    left = list(counts)
    while any(left):
        room = capacity
        taken: list[int] = []
        for size, available in zip(sizes, left, strict=True):
            taken.append(min(available, room // size) if available else 0)
            room -= size * taken[-1]
        times = min(available // each for available, each in zip(left, taken, strict=True) if each)
        left = [available - times * each for available, each in zip(left, taken, strict=True)]
        yield taken, times
