"""Black bars above, below or beside the picture, which a model would learn to draw."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from reelwright.data.lint.findings import Finding, Subject
from reelwright.media.frame_chunks import Pixels
from reelwright.media.geometry import Box, Size

Shares = NDArray[np.float64]
"""For each row or column, from 0 to 1."""

_BLACK = 28
"""Levels of 255 that codecs and studio black leave in a bar."""
_STRAY = 0.02
"""Share of a line that may be brighter all the same: ringing at its ends."""
_EDGE = 0.6
"""Share of the line beside a bar that is lit in some frame. A dark scene fades, a bar ends at once."""
_DEPTH = 0.012
"""Share of the height (or width) within which it ends."""
_SMALLEST = 4
"""Pixels off in all; less is not worth a crop."""
_LEAST_CONTENT = 0.3
"""Share of width and height; what leaves less is no bar but darkness."""


class BarsGauge:
    """Remembers how much of each line of pixels was ever lit at once; in bars nearly nothing is.

    At once: a bright thing that crosses a black scene lights a whole line too, but only bit by bit.
    """

    def __init__(self) -> None:
        self._rows: Shares | None = None
        self._columns: Shares | None = None

    def add(self, frame_HWC: Pixels) -> None:
        """A frame of the clip; all of one size. A dozen, spread over the clip, are enough."""
        lit = frame_HWC.max(axis=2) > _BLACK
        rows, columns = lit.mean(axis=1), lit.mean(axis=0)
        self._rows = rows if self._rows is None else np.maximum(self._rows, rows)
        self._columns = columns if self._columns is None else np.maximum(self._columns, columns)

    def content_box(self) -> Box | None:
        """What lies between the bars; None where there are none."""
        if self._rows is None or self._columns is None:
            return None
        height, width = len(self._rows), len(self._columns)
        # Bars all around shorten the lines of the picture. That counts only where they are bars both ways.
        top, bottom = _sharp_span(self._rows, float((self._columns > _STRAY).mean()))
        left, right = _sharp_span(self._columns, (bottom - top) / height)
        top, bottom = _sharp_span(self._rows, (right - left) / width)
        removed = (width - (right - left)) + (height - (bottom - top))
        if removed < _SMALLEST or not _is_content((left, top, right, bottom), (width, height)):
            return None
        return left, top, right, bottom


def find_bars(subject: Subject) -> Iterator[Finding]:
    if subject.look.content_box is None:
        return
    (left, top, right, bottom), (width, height) = subject.look.content_box, subject.look.size
    sides = {"top": top, "bottom": height - bottom, "left": left, "right": width - right}
    bars = ", ".join(f"{pixels} at the {side}" for side, pixels in sides.items() if pixels)
    message = (
        f"has black bars, in pixels {bars}; the picture is the box"
        f" {left}, {top}, {right}, {bottom} of {width} x {height}. --fix cuts them off."
    )
    yield Finding(kind="bars", severity="warning", message=message)


def _sharp_span(lines: Shares, extent: float) -> tuple[int, int]:
    """The first line of the picture and the one after its last; the border where a side has no sharp edge."""
    return _bar_width(lines, extent), len(lines) - _bar_width(lines[::-1], extent)


def _bar_width(lines: Shares, extent: float) -> int:
    """How many lines at the border are black, if nearly a whole line lights up where they end; else 0."""
    lit = np.flatnonzero(lines > _STRAY)
    if not len(lit):
        return 0
    depth = max(round(_DEPTH * len(lines)), 2)
    edge = lines[lit[0] : lit[0] + depth]
    if float(edge.max()) < _EDGE * extent:
        return 0
    # Codecs smear the edge: a line that is lit here and there is still bar.
    return int(lit[0]) + int(np.argmax(edge >= edge.max() / 2)) if lit[0] else 0


def _is_content(box: Box, size: Size) -> bool:
    left, top, right, bottom = box
    return right - left >= _LEAST_CONTENT * size[0] and bottom - top >= _LEAST_CONTENT * size[1]
