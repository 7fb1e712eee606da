"""Packs of items of different size, none larger than a number of tokens.

All packs of an epoch are as alike as can be: items are dealt out from the largest to the smallest, each to
the emptiest pack (Graham 1969), so that long clips do not meet in one pack and images in another. As many
packs are used as first fit decreasing needs, or a few more. Which sizes share a pack is the same in every
epoch, so that all have equally many; which items they are follows from seed and epoch.
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

Counts = NDArray[np.int64]

_MORE_PACKS = 0.02
"""How many more than first fit decreasing needs are used to have packs that are alike."""


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
    found, which = np.unique(tokens, return_inverse=True)
    sizes = found[::-1].astype(np.int64)
    counts = np.bincount(which, draws, minlength=len(found))[::-1].astype(np.int64)
    size_of_item = np.repeat(sizes, counts)
    pack_of_item = _share_out(sizes, counts, capacity)
    lengths = np.bincount(pack_of_item)
    return PackPlan(
        capacity=capacity,
        tokens=tokens,
        slots=size_of_item[np.argsort(pack_of_item, kind="stable")].astype(np.int32),
        starts=np.append(0, np.cumsum(lengths)).astype(np.int64),
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


def _share_out(sizes: Counts, counts: Counts, capacity: int) -> Counts:
    """The pack of each item, with sizes from the largest in a row."""
    tight = _first_fit(sizes, counts, capacity)
    needed = int(tight.max()) + 1
    most = min(int(needed * (1 + _MORE_PACKS)), len(tight))
    num_packs = -(-int(sizes @ counts) // capacity)
    while num_packs <= most:
        if (alike := _deal_out(sizes, counts, num_packs, capacity)) is not None:
            return alike
        num_packs += max(num_packs // 200, 1)
    return tight


def _deal_out(sizes: Counts, counts: Counts, num_packs: int, capacity: int) -> Counts | None:
    """Each item to the pack that is emptiest then; None if one becomes too full."""
    loads = np.zeros(num_packs, np.int64)
    packs: list[Counts] = []
    for size, count in zip(sizes.tolist(), counts.tolist(), strict=True):
        taken = _to_the_emptiest(loads, size, count)
        loads += size * taken
        if loads.max() > capacity:
            return None
        packs.append(np.repeat(np.arange(num_packs), taken))
    return np.concatenate(packs)


def _to_the_emptiest(loads: Counts, size: int, count: int) -> Counts:
    """How many of `count` items of one size each pack takes, if they come one by one.

    A pack takes items up to a level that all have in common.
    """
    low, high = int(loads.min()), int(loads.max()) + size * (count // len(loads) + 1)
    while low < high:
        level = (low + high + 1) // 2
        if int(_taken_up_to(loads, level, size).sum()) <= count:
            low = level
        else:
            high = level - 1
    taken = _taken_up_to(loads, low, size)
    next_ones = np.flatnonzero(loads + size * taken == low)
    taken[next_ones[: count - int(taken.sum())]] += 1
    return taken


def _taken_up_to(loads: Counts, level: int, size: int) -> Counts:
    """Items that packs take before all of them are at a level."""
    return np.maximum(-((loads - level) // size), 0)


def _first_fit(sizes: Counts, counts: Counts, capacity: int) -> Counts:
    """First fit decreasing: each item to the first pack that has room for it."""
    taken, times = map(
        np.array, zip(*_alike_in_a_row(sizes.tolist(), counts.tolist(), capacity), strict=True)
    )
    packs = np.arange(times.sum())
    return np.concatenate([np.repeat(packs, np.repeat(each, times)) for each in taken.T])


def _alike_in_a_row(sizes: list[int], counts: list[int], capacity: int) -> Iterator[tuple[list[int], int]]:
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
