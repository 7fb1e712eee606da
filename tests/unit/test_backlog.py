"""What becomes of orders when workers die, and who takes which share."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reelwright.core.errors import MemoryLimitError
from reelwright.protocols.cache_configs import CacheConfig
from reelwright.protocols.configs import ExecutionConfig
from reelwright.workflows.caching.backlog import Attempt, Backlog
from reelwright.workflows.caching.executors import devices_of, order_size
from reelwright.workflows.caching.orders import ItemDone, ItemFailed, Order
from reelwright.workflows.caching.ranks import own_share

from .cache_orders import item, order

FOLDER = Path("cache")


def orders_of(sizes: list[int]) -> list[Order]:
    return [
        order([item(f"{number}-{index}", FOLDER) for index in range(size)], number=number)
        for number, size in enumerate(sizes)
    ]


def names(orders) -> list[str]:
    return [one.name for each in orders for one in each.items]


class Workers:
    """Workers that die of some items, and by chance after some others."""

    def __init__(self, backlog: Backlog, poison: set[str], deaths: list[int]) -> None:
        self.backlog, self.poison, self.deaths = backlog, poison, deaths
        self.done: list[str] = []
        self.failed: list[str] = []
        self.times_encoded: dict[str, int] = {}

    def run(self) -> None:
        while (attempt := self.backlog.take()) is not None:
            if self._dies(attempt):
                self.failed += [failed.item.name for failed in self.backlog.lose(attempt)]

    def _dies(self, attempt: Attempt) -> bool:
        left = self.deaths.pop() if self.deaths else 99
        for one in attempt.order.items:
            if left == 0 or one.name in self.poison:
                return True
            left -= 1
            self.done.append(one.name)
            self.backlog.note(attempt, ItemDone(item=one, seconds=1.0))
        return False


@given(
    sizes=st.lists(st.integers(1, 8), min_size=1, max_size=6),
    poison=st.sets(st.integers(0, 40), max_size=3),
    deaths=st.lists(st.integers(1, 9), max_size=5),
)
def test_every_item_comes_to_one_end_and_only_poison_fails(sizes, poison, deaths):
    orders = orders_of([1, *sizes])  # the first item is never poison: something is done
    all_names = names(orders)
    bad = {all_names[number] for number in poison if 0 < number < len(all_names)}
    workers = Workers(Backlog(orders), bad, deaths)
    workers.run()
    assert sorted(workers.done + workers.failed) == sorted(all_names)
    assert set(workers.failed) == bad


def test_what_was_reported_is_not_tried_again():
    backlog = Backlog(orders_of([3]))
    attempt = backlog.take()
    assert attempt is not None
    backlog.note(attempt, ItemDone(item=attempt.order.items[1], seconds=1.0))
    assert list(backlog.lose(attempt)) == []
    again = backlog.take()
    assert again is not None
    assert names([again.order]) == ["0-0", "0-2"]


def test_an_item_that_kills_every_worker_is_given_up_after_three_tries_alone():
    backlog = Backlog(orders_of([1, 1]))
    healthy, attempt = backlog.take(), backlog.take()
    assert healthy is not None
    backlog.note(healthy, ItemDone(item=healthy.order.items[0], seconds=1.0))
    failed: list[ItemFailed] = []
    tries = 0
    while attempt is not None:
        tries += 1
        failed += backlog.lose(attempt)
        attempt = backlog.take()
    assert (tries, [each.item.name for each in failed]) == (3, ["1-0"])
    assert "killed 3 times" in failed[0].message


def test_workers_that_only_die_end_the_run():
    workers = Workers(Backlog(orders_of([8, 8])), set(names(orders_of([8, 8]))), [])
    with pytest.raises(MemoryLimitError, match="got nothing done"):
        workers.run()


def share_of(items, rank: int, num_ranks: int) -> list[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RANK", str(rank))
        patch.setenv("WORLD_SIZE", str(num_ranks))
        return [one.name for one in own_share(items)]


@given(num_ranks=st.integers(1, 5), num_items=st.integers(0, 30))
def test_ranks_have_nothing_in_common_and_do_everything_together(num_ranks, num_items):
    items = [item(f"{number}", FOLDER) for number in range(num_items)]
    taken = [share_of(items, rank, num_ranks) for rank in range(num_ranks)]
    assert sorted(name for part in taken for name in part) == sorted(one.name for one in items)


def test_a_share_does_not_depend_on_what_else_is_missing():
    items = [item(f"{number}", FOLDER) for number in range(24)]
    first, later = share_of(items, 0, 2), share_of([*items[5:13], *items[20:]], 0, 2)
    assert later == [name for name in first if 5 <= int(name) < 13 or int(name) >= 20]


@pytest.mark.parametrize(
    ("num_items", "values", "size"),
    [
        (1000, {}, 64),
        (1000, {"processes": 2}, 8),
        (24, {"processes": 2}, 3),
        (3, {"processes": 4}, 1),
        (24, {"executor": "ray"}, 1),
        (0, {"processes": 2}, 1),
    ],
)
def test_orders_are_small_where_several_share_them(num_items, values, size):
    assert order_size(num_items, CacheConfig(**values)) == size


@pytest.mark.parametrize(
    ("device", "processes", "gpus", "devices"),
    [
        ("auto", 0, 0, ["auto"]),
        ("auto", 2, 0, ["auto", "auto"]),
        ("auto", 0, 2, ["cuda:0", "cuda:1"]),
        ("cuda", 3, 2, ["cuda:0", "cuda:1", "cuda:0"]),
        ("cuda:1", 0, 2, ["cuda:1"]),
        ("cpu", 2, 2, ["cpu", "cpu"]),
    ],
)
def test_processes_take_the_gpus_in_turn(device, processes, gpus, devices, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: gpus)
    config = CacheConfig(processes=processes, execution=ExecutionConfig(device=device))
    assert devices_of(config) == devices
