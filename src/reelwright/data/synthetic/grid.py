"""Scenes whose objects keep to a grid, so that each looks alike in every cell it comes to."""

from dataclasses import replace

from reelwright.data.synthetic.scene import Background, SceneObject
from reelwright.data.synthetic.vocabulary import DIRECTIONS, SIZES

_HALF = 0.5
"""From the middle of a square picture to its border, in its side."""
_HALF_PICTURES_PER_SECOND = 4.0
"""Of what goes one side in half a second."""


def on_grid(thing: SceneObject, grid: int) -> SceneObject:
    """The object with the nearest radius, place and pace that a grid of so many cells to a side allows."""
    radius = _nearest(sum(SIZES[thing.size]) / 2, 0.5 / grid)
    room = _HALF - thing.radius
    farthest = _HALF - radius
    x, y = (_nearest(place * room, 1.0 / grid) / farthest for place in thing.start)
    step = _HALF_PICTURES_PER_SECOND / grid
    pace = max(_nearest(thing.pace, step), step) if thing.motion in DIRECTIONS else thing.pace
    return replace(thing, radius=radius, start=(x, y), pace=pace)


def horizon_on_grid(background: Background, grid: int) -> Background:
    """The background with the nearest horizon between cells."""
    return replace(background, horizon=_nearest(background.horizon * _HALF, 1.0 / grid) / _HALF)


def _nearest(value: float, step: float) -> float:
    return round(value / step) * step
