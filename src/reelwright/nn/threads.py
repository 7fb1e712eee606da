"""Work in threads that meet once, at its end, where torch's own would meet after every operation."""

import os
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache, partial
from typing import TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


def share_out(work: Callable[[Sequence[T]], None], parts: Sequence[T], tensor: Tensor) -> None:
    """Call `work` with all parts, shared out to as many threads as torch may use on a processor.

    Within, every operation runs in one thread: many small ones are quicker so, above all where other programs
    want the processor too, and their results do not depend on how many threads there are. What `work` raises
    is raised here. Where the `tensor` that it is about lies elsewhere or needs gradients, `work` is called
    once, here.
    """
    needs_gradients = torch.is_grad_enabled() and tensor.requires_grad
    if tensor.device.type != "cpu" or needs_gradients or torch.get_num_threads() == 1:
        work(parts)
        return
    with _one_thread_to_an_operation() as num_threads:
        shares = [parts[first::num_threads] for first in range(min(num_threads, len(parts)))]
        work_alone = partial(_work_alone, work, is_inference=torch.is_inference_mode_enabled())
        list(_threads(num_threads).map(work_alone, shares))


def _work_alone(work: Callable[[Sequence[T]], None], share: Sequence[T], *, is_inference: bool) -> None:
    """Modes of torch are each thread's own."""
    with torch.inference_mode(mode=is_inference), torch.no_grad():
        work(share)


@contextmanager
def _one_thread_to_an_operation() -> Generator[int]:
    """Tells how many there were before."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield num_threads
    finally:
        torch.set_num_threads(num_threads)


@lru_cache(maxsize=1)
def _threads(num_threads: int) -> ThreadPoolExecutor:
    """They stay: each new one would allocate work space of its own."""
    return ThreadPoolExecutor(num_threads, "share-out", initializer=partial(torch.set_num_threads, 1))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_threads.cache_clear)  # threads do not survive in a child
