"""Frames with the time that each is on screen, and which of them a rate picks; no file is touched here."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from reelwright.media.frame_chunks import Pixels
from reelwright.media.geometry import Size

# Containers round timestamps, Matroska to whole milliseconds: a frame may seem to start half of one late.
_TIME_TOLERANCE = 0.6e-3


@dataclass(frozen=True, kw_only=True)
class ShownFrame:
    """A frame, when it appears and when it would vanish, in seconds from the first; and its size upright."""

    start: float
    end: float
    size: Size
    pixels: Callable[[Size], Pixels]
    """Makes frame_HWC uint8 RGB of a size, which may distort; nothing is converted before."""


def num_resampled_frames(duration: float, fps: float) -> int:
    """How many frames `on_screen` picks from a clip that lasts `duration` seconds; at least 1."""
    guess = max(math.ceil(duration * fps) - 1, 1)
    while guess > 1 and not _moment(guess - 1, fps) < duration:
        guess -= 1
    while _moment(guess, fps) < duration:
        guess += 1
    return guess


def on_screen(shown: Iterable[ShownFrame], fps: float, start: float = 0.0) -> Iterator[ShownFrame]:
    """What is on screen at `start` + 0, 1/fps, 2/fps, ... seconds, until the last frame vanishes.

    `shown` may lack frames from before `start`. A clip has at least one frame, however short.
    """
    index = 0
    current: ShownFrame | None = None
    for upcoming in shown:
        while current is not None and _moment(index, fps, start) < upcoming.start:
            yield current
            index += 1
        current = upcoming
    while current is not None and (index == start == 0 or _moment(index, fps, start) < current.end):
        yield current
        index += 1


def shown_from(shown: Iterable[ShownFrame], start: float) -> Iterator[ShownFrame]:
    """The frame on screen at `start` seconds and all after it."""
    waiting: ShownFrame | None = None
    is_reached = start == 0
    for upcoming in shown:
        if not is_reached and upcoming.start > start + _TIME_TOLERANCE:
            is_reached = True
            if waiting is not None:
                yield waiting
        if is_reached:
            yield upcoming
        waiting = upcoming
    if not is_reached and waiting is not None and waiting.end > start + _TIME_TOLERANCE:
        yield waiting


def at_rate(shown: Iterable[ShownFrame], fps: float) -> Iterator[ShownFrame]:
    """The same frames, following each other at `fps` whatever their times say."""
    for index, frame in enumerate(shown):
        yield replace(frame, start=index / fps, end=(index + 1) / fps)


def _moment(index: int, fps: float, start: float = 0.0) -> float:
    return start + index / fps + _TIME_TOLERANCE
