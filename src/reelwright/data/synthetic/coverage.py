"""How much of each pixel a polygon covers."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reelwright.data.synthetic.outlines import Points
from reelwright.media.geometry import Box, Size

_LINES_PER_PIXEL = 8


@dataclass(frozen=True, kw_only=True)
class Mask:
    """Part of a picture, and how much of each of its pixels is covered: [bottom - top, right - left]."""

    box: Box
    covered_HW: NDArray[np.float32]

    @property
    def slices(self) -> tuple[slice, slice]:
        left, top, right, bottom = self.box
        return slice(top, bottom), slice(left, right)


def coverage(contours: Sequence[Points], size: Size) -> Mask:
    """The mask of a polygon given in pixels, of what is inside the picture; it may be empty.

    Exact along rows; across them eight lines are counted for each pixel. Where lines cross the polygon, what
    is to the right changes by 1: the sum of the changes along a row is the mask.
    """
    corners = np.concatenate(contours)
    left, top = np.floor(corners.min(0)).astype(int)
    right, bottom = np.ceil(corners.max(0)).astype(int)
    left, right = (int(np.clip(x, 0, size[0])) for x in (left, right))
    top, bottom = (int(np.clip(y, 0, size[1])) for y in (top, bottom))
    height, width = bottom - top, right - left
    if not (height and width):
        return Mask(box=(left, top, right, bottom), covered_HW=np.zeros((height, width), np.float32))
    lines = top + (np.arange(height * _LINES_PER_PIXEL) + 0.5) / _LINES_PER_PIXEL
    starts, ends = corners, np.concatenate([np.roll(contour, -1, 0) for contour in contours])
    edge, line = np.nonzero((starts[:, 1:] <= lines) != (ends[:, 1:] <= lines))
    start, run = starts[edge], (ends - starts)[edge]
    cuts = start[:, 0] + (lines[line] - start[:, 1]) / run[:, 1] * run[:, 0]
    cuts = np.clip(cuts - left, 0.0, width)
    cell = cuts.astype(int)
    change = -np.sign(run[:, 1]) / _LINES_PER_PIXEL
    # A cut inside a pixel covers what is right of it there, and all of the next ones.
    place = line // _LINES_PER_PIXEL * (width + 2) + cell
    inside = change * (1.0 - (cuts - cell))
    length = height * (width + 2)
    changes = np.bincount(place, inside, length) + np.bincount(place + 1, change - inside, length)
    covered = changes.reshape(height, width + 2)[:, :width].cumsum(1)
    return Mask(box=(left, top, right, bottom), covered_HW=np.clip(covered, 0.0, 1.0).astype(np.float32))
