"""Orders on their way through workers that may be killed: what is lost is tried again, and no item twice."""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from reelwright.core.errors import MemoryLimitError
from reelwright.workflows.caching.orders import Item, ItemFailed, Order, Outcome, memory_advice

_TRIES, _TRIES_TOGETHER = 3, 2
"""Of an item alone; of several, before each is tried alone: one of them may kill whoever encodes it."""
_HOPELESS = 8
"""Workers lost before anything at all was done."""


@dataclass(kw_only=True, eq=False)
class Attempt:
    """An order in the hands of a worker."""

    order: Order
    tries: int = 0
    unfinished: dict[tuple[str, str], Item] = field(init=False)

    def __post_init__(self) -> None:
        self.unfinished = {_key(item): item for item in self.order.items}


class Backlog:
    """Orders that wait: those that were lost first, then new ones as they are asked for."""

    def __init__(self, orders: Iterable[Order]) -> None:
        self._orders = iter(orders)
        self._lost: deque[Attempt] = deque()
        self._num_done = self._num_lost = 0

    def take(self) -> Attempt | None:
        """The next; None where nothing waits now."""
        if self._lost:
            return self._lost.popleft()
        order = next(self._orders, None)
        return None if order is None else Attempt(order=order)

    def note(self, attempt: Attempt, outcome: Outcome) -> None:
        """An item has come to its end, whatever becomes of the worker."""
        self._num_done += 1
        attempt.unfinished.pop(_key(outcome.item), None)

    def lose(self, attempt: Attempt) -> Iterator[ItemFailed]:
        """The worker is gone. Yields the items that are given up; the others wait again.

        Raises MemoryLimitError if workers only ever die.
        """
        self._num_lost += 1
        advice = memory_advice(attempt.order.kind)
        tries, items = attempt.tries + 1, tuple(attempt.unfinished.values())
        if len(items) == 1 and tries >= _TRIES:
            yield ItemFailed(item=items[0], message=f"Its worker was killed {tries} times. {advice}")
        elif len(items) > 1 and tries >= _TRIES_TOGETHER:
            self._lost.extend(Attempt(order=replace(attempt.order, items=(item,))) for item in items)
        elif items:
            self._lost.append(Attempt(order=replace(attempt.order, items=items), tries=tries))
        if self._num_lost >= _HOPELESS and not self._num_done:
            raise MemoryLimitError(
                f"Workers were killed {self._num_lost} times and got nothing done. {advice}"
            )


def _key(item: Item) -> tuple[str, str]:
    return item.folder, item.entries[0].name
