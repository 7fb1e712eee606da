"""Clips read ahead of whoever encodes them, in threads, with few frames in memory at a time."""

import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from torch import Tensor

from reelwright.data.clips import read_clip
from reelwright.protocols.clips import Clip
from reelwright.workflows.caching.orders import Item, Order

_FRAMES_AHEAD_BYTES = 256 * 2**20
"""Of all clips that are open at a time."""
_CLIPS_AHEAD = 2
"""Unless told otherwise: more only help where media come slowly."""


@dataclass(frozen=True, kw_only=True)
class OpenBatch:
    """Clips that are encoded together, each with its frames."""

    order: Order
    items: tuple[Item, ...]
    frames: tuple["FramesAgain", ...]


class FramesAgain:
    """The frames of one clip, as often as they are asked for: reading starts now, and anew with each call.

    Nothing is kept of what was read: the file is decoded once for each time. Close it.
    """

    def __init__(self, clip: Clip, max_bytes: int = _FRAMES_AHEAD_BYTES) -> None:
        self._clip = clip
        self._max_bytes = max_bytes
        self._frames = FramesAhead(clip, max_bytes)
        self._is_asked_for = False

    def __call__(self) -> Iterator[Tensor]:
        if self._is_asked_for:
            self._frames.close()
            self._frames = FramesAhead(self._clip, self._max_bytes)
        self._is_asked_for = True
        return self._frames

    def close(self) -> None:
        self._frames.close()


class FramesAhead:
    """The frames of one clip, uint8 chunk_FHWC, read by a thread of its own.

    The thread is at most `max_bytes` ahead of whoever takes the chunks, and one chunk more. What goes wrong
    in it is raised where its chunk would have been. Close it: a thread may wait for room.
    """

    def __init__(self, clip: Clip, max_bytes: int = _FRAMES_AHEAD_BYTES) -> None:
        self._max_bytes = max_bytes
        self._changed = threading.Condition()
        self._chunks: deque[Tensor] = deque()
        self._num_bytes = 0
        self._is_read = self._is_closed = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="read-clip")
        self._reading = self._thread.submit(self._read, clip)

    def __iter__(self) -> Iterator[Tensor]:
        return self

    def __next__(self) -> Tensor:
        with self._changed:
            self._changed.wait_for(lambda: self._chunks or self._is_read)
            if self._chunks:
                chunk = self._chunks.popleft()
                self._num_bytes -= chunk.nbytes
                self._changed.notify_all()
                return chunk
        self._reading.result()
        raise StopIteration

    def close(self) -> None:
        """Stop reading; the thread ends after the chunk it is at."""
        with self._changed:
            self._is_closed = True
            self._chunks.clear()
            self._changed.notify_all()
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _read(self, clip: Clip) -> None:
        try:
            for chunk in read_clip(clip):
                with self._changed:
                    self._changed.wait_for(lambda: self._num_bytes < self._max_bytes or self._is_closed)
                    if self._is_closed:
                        return
                    self._chunks.append(chunk)
                    self._num_bytes += chunk.nbytes
                    self._changed.notify_all()
        finally:
            with self._changed:
                self._is_read = True
                self._changed.notify_all()


def read_ahead(orders: Iterable[Order]) -> Generator[OpenBatch]:
    """The batches of `orders` in turn, while the clips of the next ones are being read.

    All clips of a batch are read side by side, since an encoder may take them in step; beside them at least
    `num_workers` more where there are any. Each is closed when the next batch is asked for.
    """
    waiting: deque[OpenBatch] = deque()
    try:
        for order in orders:
            num_ahead = order.config.num_workers or _CLIPS_AHEAD
            for items in batches(order.items, order.batch_size):
                waiting.append(_open(order, items, num_ahead))
                while sum(len(batch.items) for batch in waiting) >= len(waiting[0].items) + num_ahead:
                    yield waiting[0]
                    _close(waiting.popleft())
        while waiting:
            yield waiting[0]
            _close(waiting.popleft())
    finally:
        for batch in waiting:
            _close(batch)


def batches(items: Sequence[Item], size: int) -> Iterator[tuple[Item, ...]]:
    """The items in turn, `size` at a time."""
    return (tuple(items[start : start + size]) for start in range(0, len(items), size))


def clip_of(item: Item) -> Clip:
    if item.clip is None:
        raise ValueError(f"{item.name}: an item of latents needs a clip")
    return item.clip


def _open(order: Order, items: tuple[Item, ...], num_ahead: int) -> OpenBatch:
    room = _FRAMES_AHEAD_BYTES // (order.batch_size + num_ahead)
    return OpenBatch(
        order=order, items=items, frames=tuple(FramesAgain(clip_of(item), room) for item in items)
    )


def _close(batch: OpenBatch) -> None:
    for frames in batch.frames:
        frames.close()
