"""Work that is done by threads before its result is asked for."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Input = TypeVar("Input")
Result = TypeVar("Result")


def run_ahead(
    work: Callable[[Input], Result], inputs: Iterable[Input], *, num_workers: int, num_ahead: int
) -> Generator[tuple[Input, "Future[Result]"], None, None]:
    """Each input with what becomes of it, in order; at most `num_ahead` are worked on or wait to be taken.

    An error of `work` is in the future of its input alone. Closing this drops what was not begun and waits
    for what was.
    """
    remaining = iter(inputs)
    pool = ThreadPoolExecutor(num_workers)
    try:
        waiting = deque((each, pool.submit(work, each)) for each in islice(remaining, num_ahead))
        while waiting:
            done = waiting.popleft()
            # Taken before it is handed out, which may take long: the threads go on meanwhile.
            waiting.extend((each, pool.submit(work, each)) for each in islice(remaining, 1))
            yield done
    finally:
        pool.shutdown(cancel_futures=True)
