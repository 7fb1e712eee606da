"""Which shape a silhouette has: compared with small pictures, in any position, size and turn."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np

from reelwright.data.judging.colors import Floats
from reelwright.data.judging.tracks import Sight

_SIDE = 24
_REACH = 2.5
"""How far around the center is looked, in radii."""
_NUM_TURNS = 24
_MOST_SIGHTS = 6
_UPRIGHT_BONUS = 0.01
"""Things usually stand upright: of two shapes that fit alike, the one that does is meant."""
_SAMPLES = 3
"""Along each side of a cell, so that nothing fine is missed."""


@dataclass(frozen=True, kw_only=True)
class Silhouettes:
    """Pictures of all shapes, in all turns, as vectors of length one."""

    names: tuple[str, ...]
    """Of each vector."""
    bonus: Floats
    vectors: Floats


def recognize_shape(sights: Sequence[Sight]) -> str:
    """The shape that fits the largest of some sights best on the whole; empty where there are none."""
    if not sights:
        return ""
    known = silhouettes()
    step = max(len(sights) // _MOST_SIGHTS, 1)
    chosen = sorted(sights[::step], key=lambda sight: -sight.area)[:_MOST_SIGHTS]
    seen = np.stack([_vector(sight.cover_HW, sight.center, sight.radius, 0.0) for sight in chosen])
    fits = seen @ known.vectors.T + known.bonus
    names = np.array(known.names)
    shapes = sorted(set(known.names))
    totals = [sum(float(row[names == shape].max()) for row in fits) for shape in shapes]
    return shapes[int(np.argmax(totals))]


@cache
def silhouettes() -> Silhouettes:
    """The pictures in shapes.txt, turned and mirrored."""
    names: list[str] = []
    bonuses: list[float] = []
    vectors: list[Floats] = []
    for name, picture_HW in _pictures().items():
        rows, columns = np.nonzero(picture_HW)
        x, y = columns.mean(), rows.mean()
        radius = float(np.sqrt(((columns - x) ** 2 + (rows - y) ** 2).mean()))
        for mirrored in (picture_HW, picture_HW[:, ::-1]):
            middle = x if mirrored is picture_HW else picture_HW.shape[1] - 1 - x
            for turn in range(_NUM_TURNS):
                names.append(name)
                bonuses.append(0.0 if turn else _UPRIGHT_BONUS)
                angle = 2.0 * np.pi * turn / _NUM_TURNS
                vectors.append(_vector(mirrored, (float(middle), float(y)), radius, angle))
    return Silhouettes(names=tuple(names), bonus=np.array(bonuses, np.float32), vectors=np.stack(vectors))


def _pictures() -> dict[str, Floats]:
    """Name -> picture, 1 inside and 0 outside."""
    text = (files("reelwright.data.judging") / "shapes.txt").read_text(encoding="utf-8")
    pictures: dict[str, Floats] = {}
    for block in text.strip().split("\n\n"):
        name, *lines = block.splitlines()
        pictures[name] = np.array([[mark == "#" for mark in line] for line in lines], np.float32)
    return pictures


def _vector(cover_HW: Floats, center: tuple[float, float], radius: float, angle: float) -> Floats:
    """What lies around the center, in radii, as a vector of length one: moved, scaled and turned away."""
    number = _SIDE * _SAMPLES
    places = ((np.arange(number) + 0.5) / number * 2.0 - 1.0) * _REACH * max(radius, 0.5)
    right, down = np.meshgrid(places, places)
    cosine, sine = np.cos(angle), np.sin(angle)
    x = center[0] + cosine * right - sine * down
    y = center[1] + sine * right + cosine * down
    cells = _between_pixels(cover_HW, x, y).reshape(_SIDE, _SAMPLES, _SIDE, _SAMPLES).mean((1, 3))
    vector = _blurred(cells).ravel()
    return (vector / max(float(np.linalg.norm(vector)), 1e-6)).astype(np.float32)


def _between_pixels(plane_HW: Floats, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Values at any places, mixed from the four pixels around each; 0 outside."""
    padded = np.pad(plane_HW, 1)
    height, width = padded.shape
    x, y = np.clip(x + 1.0, 0.0, width - 1.001), np.clip(y + 1.0, 0.0, height - 1.001)
    left, top = x.astype(int), y.astype(int)
    right, down = x - left, y - top
    above = padded[top, left] * (1.0 - right) + padded[top, left + 1] * right
    below = padded[top + 1, left] * (1.0 - right) + padded[top + 1, left + 1] * right
    return above * (1.0 - down) + below * down


def _blurred(cells: np.ndarray) -> np.ndarray:
    """Each cell mixed with its neighbors: edges need not lie in exactly the same cells."""
    padded = np.pad(cells, 1)
    across = (padded[:, :-2] + 2.0 * padded[:, 1:-1] + padded[:, 2:]) / 4.0
    return (across[:-2] + 2.0 * across[1:-1] + across[2:]) / 4.0
