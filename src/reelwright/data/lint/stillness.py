"""Clips, heads and tails in which nothing moves: a model learns from them to stand still."""

from collections.abc import Iterator

import numpy as np

from reelwright.data.lint.block_means import Means
from reelwright.data.lint.findings import Finding, Subject
from reelwright.data.lint.look import Look, Span

SHORTEST = 1.0
"""Seconds; people hold still for less without anybody minding."""
_MOVED = 6.0
"""Levels of 255 by which a block's mean color changes; grain and codecs stay below."""
_NEAR_STATIC = 0.9
"""Share of the duration."""


class StillnessGauge:
    """Finds the stretches in which every frame looks like the first of the stretch."""

    def __init__(self) -> None:
        self._reference: Means | None = None
        self._since = self._until = 0.0
        self._spans: list[Span] = []

    def add(self, means: Means, start: float, end: float) -> None:
        if self._reference is None or float(np.abs(means - self._reference).max()) > _MOVED:
            self._close(SHORTEST)
            self._reference, self._since = means, start
        self._until = end

    def stretches(self) -> tuple[Span, ...]:
        """After the last frame. A clip that never moves is one stretch, however short."""
        self._close(0.0 if self._since == 0.0 else SHORTEST)
        return tuple(self._spans)

    def _close(self, shortest: float) -> None:
        if self._until - self._since >= shortest and self._until > 0:
            self._spans.append((self._since, self._until))


def is_near_static(look: Look) -> bool:
    """Whether hardly anything happens in the whole clip."""
    return sum(end - start for start, end in look.stills) >= _NEAR_STATIC * look.duration


def moving_span(look: Look, within: Span) -> Span:
    """`within` without the still stretches that it begins and ends with."""
    start, end = within
    for still_start, still_end in look.stills:
        if still_start <= start < still_end:
            start = min(still_end, end)
    for still_start, still_end in reversed(look.stills):
        if still_start < end <= still_end:
            end = max(still_start, start)
    return start, end


def find_stillness(subject: Subject) -> Iterator[Finding]:
    look = subject.look
    if not subject.is_clip or not look.stills:
        return
    if is_near_static(look):
        yield Finding(kind="static", severity="warning", message="hardly anything moves in it.")
        return
    start, end = moving_span(look, (0.0, look.duration))
    if start > 0:
        yield _trimmable(f"nothing moves in its first {start:.1f} s")
    if end < look.duration:
        yield _trimmable(f"nothing moves in its last {look.duration - end:.1f} s")


def _trimmable(what: str) -> Finding:
    return Finding(kind="static", severity="warning", message=f"{what}. --fix cuts them off.")
