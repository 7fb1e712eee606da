"""Batches for training: in an order that follows from seed and epoch, read ahead, resumable anywhere."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from typing import Any

import torch

from reelwright.core.ahead import run_ahead
from reelwright.core.errors import ConfigError, FileError
from reelwright.data.batches import EpochOrder, batches_of_rank, epoch_order
from reelwright.data.cached_items import CachedItem, CachedItems
from reelwright.protocols.training import Batch

_AS_LIST = "varlen_"
"""Tensors whose names start so differ in shape from item to item."""


class Loader:
    """Iterating gives the rest of an epoch; iterating again gives the next.

    A state taken after a batch resumes with the batch that follows, without reading what came before;
    it fits any number of ranks. Batches read ahead do not count as taken.
    """

    def __init__(
        self,
        items: CachedItems,
        *,
        seed: int = 0,
        rank: int = 0,
        num_ranks: int = 1,
        num_workers: int = 2,
        num_ahead: int = 4,
    ) -> None:
        """`num_ahead` batches at most are in memory beside the one in use; `num_workers` threads read."""
        self._items = items
        self._seed = seed
        self._rank, self._num_ranks = rank, num_ranks
        self._num_workers, self._num_ahead = num_workers, num_ahead
        self.epoch = 0
        self._next = 0

    def __len__(self) -> int:
        """Batches that this rank, as any other, takes in an epoch."""
        return len(batches_of_rank(self._items.supply.num_batches, self._rank, self._num_ranks))

    @property
    def num_left(self) -> int:
        """Batches that this rank has yet to take in the epoch that it stands in."""
        return len(self) - self._next

    def __iter__(self) -> Iterator[Batch]:
        epoch = self.epoch
        order = epoch_order(self._items.supply, self._seed, epoch)
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
        self.epoch = int(state["epoch"])
        # With other ranks a round may be done in part: it is begun again, so that nothing is left out.
        self._next = int(state["batches_done"]) // self._num_ranks

    def _read(self, order: EpochOrder, epoch: int, number: int, batch: int) -> Batch:
        files, draws = order.batch(batch)
        start = int(order.starts[batch])
        read = partial(self._items.read, seed=self._seed, epoch=epoch)
        items = [read(int(file), int(draw)) for file, draw in zip(files, draws, strict=True)]
        names = [name for name in items[0].tensors if not name.startswith(_AS_LIST)]
        _check_alike(items)
        return Batch(
            epoch=epoch,
            number=number,
            names=tuple(item.name for item in items),
            group=self._items.group(int(files[0])),
            tensors={name: torch.stack([item.tensors[name] for item in items]) for name in names},
            lists={
                name.removeprefix(_AS_LIST): [item.tensors[name] for item in items]
                for name in items[0].tensors
                if name.startswith(_AS_LIST)
            },
            seeds=tuple(item.seed for item in items),
            places=tuple(range(start, start + len(items))),
            num_places=len(order.files),
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
