"""The objects of a clip: pixels of one color that stand out from the background, followed over time."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reelwright.data.judging.backgrounds import Explanation
from reelwright.data.judging.colors import Floats, Mask, distance_to_shades
from reelwright.data.synthetic.vocabulary import COLORS

Labels = NDArray[np.int8]
"""The number of an object's color, or -1 for the background."""

_SHADING = 0.18
"""How much darker and brighter than its color an object is in places."""
_NAMES = tuple(COLORS)
_MOST = 4
_SMALLEST_CORE = 4
"""Pixels with only their like around them, in a frame, by which a color counts as an object there."""
_SHARE_OF_FRAMES = 0.2
_SHARE_OF_CORE = 0.12
_SMALLEST_CONTRAST = 50.0
_FAR_OUT = 3.5
"""Times the usual distance from the middle: what is farther is not part of the object."""


@dataclass(frozen=True, kw_only=True)
class Sight:
    """An object in one frame; places in pixels, right and down, 0 in the middle of the first one."""

    frame: int
    cover_HW: Floats
    """How much of each pixel it covers."""
    area: float
    center: tuple[float, float]
    radius: float
    """The root of the mean squared distance from the center."""
    is_whole: bool
    """It touches neither the border nor another object."""


@dataclass(frozen=True, kw_only=True)
class Track:
    """All sights of one object, in order."""

    color: str
    sights: tuple[Sight, ...]
    picture_size: tuple[int, int]
    """Width and height."""

    @property
    def whole_sights(self) -> tuple[Sight, ...]:
        return tuple(sight for sight in self.sights if sight.is_whole)

    @property
    def mean_area(self) -> float:
        return float(np.mean([sight.area for sight in self.sights]))


def follow_things(frames_FHWC: Floats, background: Explanation) -> list[Track]:
    """The objects of a clip, the largest first."""
    far_FHW = background.distances(frames_FHWC)
    far_CFHW = np.stack([_distances(frames_FHWC, name) for name in _NAMES])
    labels_FHW = _labels(far_FHW, far_CFHW, range(len(_NAMES)))
    chosen = [index for index in _seen_colors(labels_FHW) if _stands_out(index, background)][:_MOST]
    labels_FHW = _labels(far_FHW, far_CFHW, chosen)
    tracks = [
        _track(color, parts, labels_FHW, far_FHW, far_CFHW[parts].min(0))
        for color, parts in _colors_of_things(labels_FHW, chosen, frames_FHWC).items()
    ]
    return sorted((track for track in tracks if track.sights), key=lambda track: -track.mean_area)


def _distances(frames_FHWC: Floats, name: str) -> Floats:
    return distance_to_shades(frames_FHWC, _rgb(name), _SHADING)


def _rgb(name: str) -> Floats:
    return np.array(COLORS[name], np.float32)


def _labels(far_FHW: Floats, far_CFHW: Floats, chosen: Sequence[int]) -> Labels:
    """What each pixel is most like, of the background and the chosen colors."""
    if not chosen:
        return np.full(far_FHW.shape, -1, np.int8)
    far = np.concatenate([far_FHW[None], far_CFHW[list(chosen)]])
    return np.array([-1, *chosen], np.int8)[far.argmin(0)]


def _seen_colors(labels_FHW: Labels) -> list[int]:
    """Colors that fill areas. Where one thing ends and another begins, mixtures look like a third color, but
    only in thin lines."""
    cores: dict[int, float] = {}
    for index in range(len(_NAMES)):
        is_it = labels_FHW == index
        core_F = _core(is_it).sum((1, 2))
        is_often_seen = np.mean(core_F >= _SMALLEST_CORE) >= _SHARE_OF_FRAMES
        if is_often_seen and core_F.sum() >= _SHARE_OF_CORE * is_it.sum():
            cores[index] = float(core_F.mean())
    return sorted(cores, key=lambda index: -cores[index])


def _colors_of_things(labels_FHW: Labels, chosen: Sequence[int], frames_FHWC: Floats) -> dict[str, list[int]]:
    """The color of each object with the labels that make it up: the shaded side of what is yellow may be like
    orange in places, and is yellow on the whole."""
    parts: dict[str, list[int]] = {}
    for index in chosen:
        parts.setdefault(_color(frames_FHWC[_core(labels_FHW == index)]), []).append(index)
    return parts


def _stands_out(index: int, background: Explanation) -> bool:
    """Whether nobody would take a darker or brighter part of the background for an object of this color."""
    return float(background.distances(_rgb(_NAMES[index])[None])[0]) > _SMALLEST_CONTRAST


def _core(is_it_FHW: Mask) -> Mask:
    """Pixels whose neighbors above, below, left and right are of the same kind."""
    around = [np.roll(is_it_FHW, step, axis) for axis in (1, 2) for step in (-1, 1)]
    return np.logical_and.reduce([is_it_FHW, *around])


def _grown(is_it_FHW: Mask) -> Mask:
    """With one more pixel all around."""
    padded = np.pad(is_it_FHW, ((0, 0), (1, 1), (1, 1)))
    height, width = is_it_FHW.shape[1:]
    parts = [padded[:, row : row + height, left : left + width] for row in range(3) for left in range(3)]
    return np.logical_or.reduce(parts)


def _track(
    color: str, parts: Sequence[int], labels_FHW: Labels, far_FHW: Floats, far_color_FHW: Floats
) -> Track:
    is_it = np.isin(labels_FHW, parts)
    is_near = _grown(is_it) & (is_it | (labels_FHW == -1))
    cover_FHW = np.where(is_near, far_FHW / np.maximum(far_FHW + far_color_FHW, 1e-6), 0.0)
    is_other = (labels_FHW >= 0) & ~is_it
    touches_F = np.any(_grown(_core(is_it)) & _grown(_grown(_core(is_other))), axis=(1, 2))
    sights = [
        sight
        for frame, cover_HW in enumerate(cover_FHW)
        if (sight := _sight(frame, cover_HW, bool(touches_F[frame]))) is not None
    ]
    height, width = labels_FHW.shape[1:]
    return Track(color=color, sights=tuple(sights), picture_size=(width, height))


def _color(pixels: Floats) -> str:
    """The nearest color to the mean of an object's inner pixels."""
    mean = pixels.mean(0) if len(pixels) else np.zeros(3)
    return min(COLORS, key=lambda name: float(np.linalg.norm(mean - _rgb(name))))


def _sight(frame: int, cover_HW: Floats, touches: bool) -> Sight | None:
    """The object in a frame, or None where too little of it is seen."""
    cover_HW = _without_strays(cover_HW)
    area = float(cover_HW.sum())
    if area < _SMALLEST_CORE:
        return None
    rows, columns = np.indices(cover_HW.shape)
    x, y = float((columns * cover_HW).sum() / area), float((rows * cover_HW).sum() / area)
    radius = float(np.sqrt((((columns - x) ** 2 + (rows - y) ** 2) * cover_HW).sum() / area))
    border = np.concatenate([cover_HW[[0, -1]].ravel(), cover_HW[:, [0, -1]].ravel()])
    return Sight(
        frame=frame,
        cover_HW=cover_HW,
        area=area,
        center=(x, y),
        radius=radius,
        is_whole=float(border.max()) < 0.5 and not touches,
    )


def _without_strays(cover_HW: Floats) -> Floats:
    """Without pixels that are much farther from the middle than most."""
    rows, columns = np.nonzero(cover_HW > 0.5)
    if not len(rows):
        return np.zeros_like(cover_HW)
    y, x = np.median(rows), np.median(columns)
    usual = max(float(np.median(np.hypot(rows - y, columns - x))), 1.0)
    places = np.indices(cover_HW.shape)
    is_near = np.hypot(places[0] - y, places[1] - x) <= _FAR_OUT * usual
    return np.where(is_near, cover_HW, 0.0).astype(np.float32)
