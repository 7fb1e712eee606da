"""Batches for training: in an order that follows from seed and epoch, read ahead, resumable anywhere."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from typing import Any, Protocol

import torch

from reelwright.core.ahead import run_ahead
from reelwright.core.errors import ConfigError, FileError
from reelwright.data.batches import EpochOrder, Supply, batches_of_rank, epoch_order
from reelwright.data.cached_items import CachedItem
from reelwright.data.packing import PackPlan, packed_order
from reelwright.protocols.training import Batch

_AS_LIST = "varlen_"
"""Tensors whose names start so differ in shape from item to item."""


class Items(Protocol):
    """Training items that are read one by one, in any order, on any thread."""

    @property
    def supply(self) -> Supply: ...

    @property
    def identity(self) -> str:
        """Tells supplies apart that give other orders."""
        ...

    def read(self, file: int, draw: int, *, seed: int, epoch: int) -> CachedItem:
        """Item `draw` of a file; what is drawn at random follows from all four. Raises FileError."""
        ...

    def group(self, file: int) -> str:
        """The name of a file's group: items of one group are batched together."""
        ...


class Loader:
    """Iterating gives the rest of an epoch; iterating again gives the next.

    A state taken after a batch resumes with the batch that follows, without reading what came before;
    it fits any number of ranks. Batches read ahead do not count as taken.
    """

    def __init__(
        self,
        items: Items,
        *,
        seed: int = 0,
        rank: int = 0,
        num_ranks: int = 1,
        num_workers: int = 2,
        num_ahead: int = 4,
        packing: PackPlan | None = None,
    ) -> None:
        """`num_ahead` batches at most are in memory beside the one in use; `num_workers` threads read.

        With `packing`, a plan for these items, batches are packs of items of any size.
        """
        self._items = items
        self._seed = seed
        self._rank, self._num_ranks = rank, num_ranks
        self._num_workers, self._num_ahead = num_workers, num_ahead
        self._packing = packing
        self.epoch = 0
        self._next = 0

    def __len__(self) -> int:
        """Batches that this rank, as any other, takes in an epoch."""
        packing = self._packing
        num_batches = self._items.supply.num_batches if packing is None else packing.num_packs
        return len(batches_of_rank(num_batches, self._rank, self._num_ranks))

    @property
    def num_left(self) -> int:
        """Batches that this rank has yet to take in the epoch that it stands in."""
        return len(self) - self._next

    def __iter__(self) -> Iterator[Batch]:
        epoch = self.epoch
        order = self._order(epoch)
        mine = batches_of_rank(order.num_batches, self._rank, self._num_ranks)
        numbers = range(self._next, len(mine))

        def read(number: int) -> Batch:
            return self._read(order, epoch, number, int(mine[number]))

        with closing(
            run_ahead(read, numbers, num_workers=self._num_workers, num_ahead=self._num_ahead)
        ) as upcoming:
            for number, batch in upcoming:
                ready = batch.result()
                self.epoch, self._next = (epoch, number + 1) if number + 1 < len(mine) else (epoch + 1, 0)
                yield ready

    def state_dict(self) -> dict[str, Any]:
        """Where the data stands, as JSON can hold it."""
        return {
            "seed": self._seed,
            "epoch": self.epoch,
            "batches_done": self._next * self._num_ranks,
            "items": self._items.identity,
            **({} if self._packing is None else {"packing": self._packing.capacity}),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where the state was taken. Raises ConfigError if the order is another one now."""
        if state["items"] != self._items.identity:
            raise ConfigError(
                "dataset: the caches hold other items, or are batched or repeated otherwise, than when the"
                " run was stopped. Resume with the same data sets, or start a new run from its weights."
            )
        if state["seed"] != self._seed:
            raise ConfigError(
                f"seed: {self._seed} gives another order than {state['seed']}, with which the run began."
                f" Resume with seed {state['seed']}."
            )
        capacity = 0 if self._packing is None else self._packing.capacity
        if state.get("packing", 0) != capacity:
            raise ConfigError(
                f"packing.tokens: {capacity} gives other batches than {state.get('packing', 0)}, with which"
                " the run began. Resume with that, or start a new run from its weights."
            )
        self.epoch = int(state["epoch"])
        # With other ranks a round may be done in part: it is begun again, so that nothing is left out.
        self._next = int(state["batches_done"]) // self._num_ranks

    def _order(self, epoch: int) -> EpochOrder:
        if self._packing is None:
            return epoch_order(self._items.supply, self._seed, epoch)
        return packed_order(self._items.supply, self._packing, self._seed, epoch)

    def _read(self, order: EpochOrder, epoch: int, number: int, batch: int) -> Batch:
        files, draws = order.batch(batch)
        start = int(order.starts[batch])
        read = partial(self._items.read, seed=self._seed, epoch=epoch)
        items = [read(int(file), int(draw)) for file, draw in zip(files, draws, strict=True)]
        groups = [self._items.group(int(file)) for file in files]
        stack = partial(_stack, epoch=epoch, number=number, num_places=len(order.files), seed=self._seed)
        if self._packing is None:
            return stack(items, groups[0], start)
        named = enumerate(zip(items, groups, strict=True), start)
        tokens = self._packing.tokens[self._items.supply.groups[files]]
        return _pack(
            [stack([item], group, place) for place, (item, group) in named],
            fill=float(tokens.sum()) / self._packing.capacity,
        )


def _stack(
    items: Sequence[CachedItem],
    group: str,
    start: int,
    *,
    epoch: int,
    number: int,
    num_places: int,
    seed: int,
) -> Batch:
    """A batch of items of one size, the first of which has place `start`. Raises FileError."""
    _check_alike(items)
    names = [name for name in items[0].tensors if not name.startswith(_AS_LIST)]
    return Batch(
        epoch=epoch,
        number=number,
        names=tuple(item.name for item in items),
        group=group,
        tensors={name: torch.stack([item.tensors[name] for item in items]) for name in names},
        lists={
            name.removeprefix(_AS_LIST): [item.tensors[name] for item in items]
            for name in items[0].tensors
            if name.startswith(_AS_LIST)
        },
        seeds=tuple(item.seed for item in items),
        places=tuple(range(start, start + len(items))),
        num_places=num_places,
        seed=seed,
    )


def _pack(parts: Sequence[Batch], *, fill: float) -> Batch:
    """A batch of batches of one item each, of any size."""
    first = parts[0]
    return Batch(
        epoch=first.epoch,
        number=first.number,
        num_places=first.num_places,
        seed=first.seed,
        names=tuple(name for part in parts for name in part.names),
        group=", ".join(sorted({part.group for part in parts})),
        tensors={},
        lists={},
        seeds=tuple(seed for part in parts for seed in part.seeds),
        places=tuple(place for part in parts for place in part.places),
        parts=tuple(parts),
        fill=fill,
    )


def _check_alike(items: Sequence[CachedItem]) -> None:
    """Raises FileError with the names of two items that cannot be stacked."""
    first = items[0]
    expected = _stackable(first)
    for item in items[1:]:
        found = _stackable(item)
        for name in sorted(expected.keys() | found.keys()):
            if expected.get(name) != found.get(name):
                raise FileError(
                    f"{item.name}: {name} is {_said(found.get(name))}, in {first.name} it is"
                    f" {_said(expected.get(name))}; they cannot be in one batch."
                    " Run the cache command again with --force for this data set."
                )


def _stackable(item: CachedItem) -> dict[str, tuple[torch.Size, torch.dtype] | None]:
    return {
        name: None if name.startswith(_AS_LIST) else (tensor.shape, tensor.dtype)
        for name, tensor in item.tensors.items()
    }


def _said(form: tuple[torch.Size, torch.dtype] | None) -> str:
    return "absent" if form is None else f"{str(form[1]).removeprefix('torch.')} {list(form[0])}"
