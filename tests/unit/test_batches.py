"""The order of training: every item as often as it should come, the same for the same seed, for any ranks."""

import random
from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from reelwright.data.batches import EpochOrder, Supply, batches_of_rank, epoch_order

GOLDEN = [[(0, 2), (2, 1)], [(0, 1), (0, 3)], [(0, 0), (2, 0)], [(1, 1)], [(1, 0), (1, 2)]]


def supply_of(files: list[tuple[int, int]], repeats: list[int], sizes: list[int]) -> Supply:
    return Supply(
        groups=np.array([group for group, _ in files], np.int32),
        num_items=np.array([count for _, count in files], np.int32),
        num_repeats=np.array(repeats, np.int32),
        batch_sizes=np.array(sizes, np.int32),
    )


@st.composite
def supplies(draw) -> Supply:
    num_groups = draw(st.integers(1, 4))
    numbers = st.lists(st.integers(1, 4), min_size=num_groups, max_size=num_groups)
    files = st.lists(st.tuples(st.integers(0, num_groups - 1), st.integers(0, 5)), max_size=20)
    return supply_of(draw(files), draw(numbers), draw(numbers))


def as_lists(order: EpochOrder) -> list[list[tuple[int, int]]]:
    batches = (order.batch(number) for number in range(order.num_batches))
    return [list(zip(files.tolist(), draws.tolist(), strict=True)) for files, draws in batches]


def items_of(batches: list[list[tuple[int, int]]], supply: Supply) -> Counter:
    return Counter((file, draw % int(supply.num_items[file])) for batch in batches for file, draw in batch)


def expected_items(supply: Supply) -> Counter:
    return Counter(
        {
            (file, item): int(supply.num_repeats[group])
            for file, (group, count) in enumerate(zip(supply.groups, supply.num_items, strict=True))
            for item in range(count)
        }
    )


@settings(max_examples=150, deadline=None)
@given(supply=supplies(), seed=st.integers(0, 2**70), epoch=st.integers(0, 5))
def test_each_item_comes_as_often_as_it_is_repeated_in_batches_of_its_group(supply, seed, epoch):
    batches = as_lists(epoch_order(supply, seed, epoch))
    assert items_of(batches, supply) == expected_items(supply)
    assert len(batches) == supply.num_batches
    # Each time an item comes it is another draw of it.
    drawn = [pair for batch in batches for pair in batch]
    assert len(set(drawn)) == len(drawn)
    partial = Counter()
    for batch in batches:
        (group,) = {int(supply.groups[file]) for file, _ in batch}
        size = int(supply.batch_sizes[group])
        assert 1 <= len(batch) <= size
        partial[group] += len(batch) < size
    assert max(partial.values(), default=0) <= 1


@settings(max_examples=100, deadline=None)
@given(supply=supplies(), num_ranks=st.integers(1, 7))
def test_ranks_take_equally_many_batches_and_leave_none_out(supply, num_ranks):
    total = supply.num_batches
    taken = [batches_of_rank(total, rank, num_ranks).tolist() for rank in range(num_ranks)]
    rounds = (total + num_ranks - 1) // num_ranks
    assert [len(each) for each in taken] == [rounds] * num_ranks
    in_order = [number for each_round in zip(*taken, strict=True) for number in each_round]
    assert in_order[:total] == list(range(total))
    filled = in_order[total:]
    assert len(filled) < num_ranks
    assert filled == [place % total for place in range(total, total + len(filled))]


def test_the_same_seed_and_epoch_give_the_same_order_and_others_another():
    supply = supply_of([(n % 3, 4) for n in range(30)], [1, 2, 1], [2, 3, 4])
    orders = {
        (seed, epoch): str(as_lists(epoch_order(supply, seed, epoch)))
        for seed in range(3)
        for epoch in range(3)
    }
    assert len(set(orders.values())) == 9
    assert str(as_lists(epoch_order(supply, 2, 1))) == orders[2, 1]


def test_orders_are_those_that_they_were():
    """Golden: a run that was stopped under another version of Python or numpy goes on in the same order."""
    supply = supply_of([(0, 2), (1, 3), (0, 1)], [2, 1], [2, 2])
    assert as_lists(epoch_order(supply, seed=7, epoch=1)) == GOLDEN


def test_items_and_batches_are_well_mixed():
    """The mean place of an item, and the share of batches that follow one of their group, by chance alone."""
    supply = supply_of([(n // 500, 1) for n in range(1000)], [1, 1], [5, 5])
    places = np.zeros(1000)
    follows = []
    for epoch in range(60):
        order = epoch_order(supply, 0, epoch)
        places[order.files] += np.arange(1000)
        groups = np.array([batch[0][0] // 500 for batch in as_lists(order)])
        follows.append((groups[1:] == groups[:-1]).mean())
    # Standard errors: 1000 / sqrt(12 * 60) = 37 for a place, 0.5 / sqrt(199 * 60) = 0.0046 for the share.
    assert abs(places / 60 - 499.5).max() < 5 * 37.3
    assert abs(np.mean(follows) - 0.4975) < 5 * 0.0046


def test_a_batch_may_draw_any_two_items_of_its_group():
    supply = supply_of([(0, 1)] * 6, [1], [2])
    pairs = Counter()
    for epoch in range(300):
        for batch in as_lists(epoch_order(supply, 1, epoch)):
            pairs[frozenset(file for file, _ in batch)] += 1
    assert len(pairs) == 15
    # 900 pairs over 15: a mean of 60 with a deviation of 7.5.
    assert all(abs(count - 60) < 5 * 7.5 for count in pairs.values())


def test_nothing_to_train_on_gives_no_batches():
    supply = supply_of([], [], [])
    order = epoch_order(supply, 0, 0)
    assert (order.num_batches, supply.num_batches) == (0, 0)
    assert len(batches_of_rank(0, 1, 3)) == 0


def test_a_million_items_are_ordered():
    chance = random.Random(0)
    supply = supply_of(
        [(chance.randrange(40), 1 + chance.randrange(6)) for _ in range(280_000)], [1] * 40, [4] * 40
    )
    order = epoch_order(supply, 3, 2)
    assert len(order.files) == supply.num_items.sum() > 950_000
    pairs = order.files.astype(np.int64) * 10 + order.draws
    assert len(np.unique(pairs)) == len(order.files)
    assert sum(each.nbytes for each in (order.files, order.draws, order.starts)) < 12_000_000
