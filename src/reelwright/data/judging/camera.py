"""Whether what is behind the objects of a clip changes its place."""

from collections.abc import Iterator
from itertools import product

import numpy as np

from reelwright.data.judging.backgrounds import Explanation
from reelwright.data.judging.colors import Floats, Mask

_BEHIND = 25.0
"""Differences of color within which a pixel shows the background."""
_MOSTLY = 0.4
_STEADY, _MOVED = 2.4, 0.1
_BETTER = 0.8
"""How much of the change another place of the camera must leave at most, to be believed."""
_REACH = 1 / 3
"""Of the larger side: how far the camera is looked for."""
_ZOOMS = np.linspace(0.6, 1.8, 25)
_SEEN = 0.25
"""Share of the picture that must be background in both frames, for them to be compared."""

Pixels = tuple[Floats, Mask]
"""Colors [H, W, 3], and where they are the background's."""
Places = tuple[np.ndarray, ...]
"""Rows and columns of pixels."""


def camera_moves(explanation: Explanation, frames_FHWC: Floats) -> bool:
    """Whether the last frame shows the background of the first from another place.

    A wall of one color looks the same wherever the camera is; and where most of the picture is not
    understood, nobody can tell. A background that only flickers, as generated ones do, looks best from
    where it was.
    """
    first, last = frames_FHWC[0], frames_FHWC[-1]
    is_first, is_last = (explanation.distances(frame) < _BEHIND for frame in (first, last))
    is_behind = is_first & is_last
    if explanation.kind == "plain" or is_behind.mean() < _MOSTLY:
        return False
    before, after = first[is_behind], last[is_behind]
    change, contrast = float(np.abs(after - before).mean()), float(before.std(0).mean())
    if change <= max(_STEADY, _MOVED * contrast):
        return False
    return _is_better_elsewhere(_halved(first, is_first), _halved(last, is_last))


def _is_better_elsewhere(first: Pixels, last: Pixels) -> bool:
    height, width, _ = first[0].shape
    whole = np.ix_(np.arange(height), np.arange(width))
    here = _change(first, last, whole, whole)
    changes = (_change(first, last, *places) for places in _other_places(height, width))
    return any(change < _BETTER * here for change in changes)


def _other_places(height: int, width: int) -> Iterator[tuple[Places, Places]]:
    """Pixels of the first frame, and where they lie in the last one, for shifts and zooms of the camera."""
    reach = int(max(height, width) * _REACH)
    ways = range(-reach, reach + 1)
    for zoom, down, right in [*((1.0, *way) for way in product(ways, ways)), *((z, 0, 0) for z in _ZOOMS)]:
        rows, shown_rows = _seen_again(height, zoom, down)
        columns, shown_columns = _seen_again(width, zoom, right)
        yield np.ix_(rows, columns), np.ix_(shown_rows, shown_columns)


def _seen_again(length: int, zoom: float, shift: int) -> tuple[np.ndarray, np.ndarray]:
    """Lines of the first frame, and the lines of the last one where they would be."""
    lines, middle = np.arange(length), (length - 1) / 2
    sources = np.rint((lines - middle) / zoom + middle + shift).astype(int)
    is_inside = (sources >= 0) & (sources < length)
    return sources[is_inside], lines[is_inside]


def _change(first: Pixels, last: Pixels, from_places: Places, to_places: Places) -> float:
    """The mean difference of what is background in both; infinite where that is little."""
    is_both = first[1][from_places] & last[1][to_places]
    if is_both.sum() < _SEEN * first[1].size:
        return float("inf")
    return float(np.abs(first[0][from_places] - last[0][to_places])[is_both].mean())


def _halved(frame_HWC: Floats, is_behind_HW: Mask) -> Pixels:
    """Means of squares of four pixels, and which of them are background altogether."""
    height, width = (side // 2 for side in is_behind_HW.shape)
    squares = frame_HWC[: 2 * height, : 2 * width].reshape(height, 2, width, 2, -1)
    is_behind = is_behind_HW[: 2 * height, : 2 * width].reshape(height, 2, width, 2)
    return squares.mean((1, 3)), np.logical_and.reduce(is_behind, axis=(1, 3))
