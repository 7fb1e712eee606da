"""What is behind the objects, as a function of the place: any part of it, at any size, without seams."""

import math
from dataclasses import dataclass
from functools import lru_cache
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reelwright.data.synthetic.describing import background_colors
from reelwright.data.synthetic.scene import Background
from reelwright.data.synthetic.vocabulary import PLACES

Plane = NDArray[np.floating[Any]]

_STRIPES = {"horizontal stripes": (0, 1), "vertical stripes": (1, 0), "diagonal stripes": (1, 1)}
_NUM_WAVES = 24


@dataclass(frozen=True, kw_only=True)
class Waves:
    """A texture: a sum of waves, each [right, down, phase, height]. Of none it is even."""

    table: NDArray[np.float64]

    def at(self, x_W: Plane, y_H: Plane, pixel: float) -> Plane:
        """The texture, about -1 to 1. Waves that are too short for pixels of this size fade out.

        sin(a + b) = sin a cos b + cos a sin b: so a whole plane of waves is one product of matrices.
        """
        right, down, phase, height = self.table.T
        shortest = math.pi / pixel
        height = height * np.clip(2.0 - 2.0 * np.maximum(abs(right), abs(down)) / shortest, 0.0, 1.0)
        across = np.outer(x_W, right)
        along = np.outer(y_H, down) + phase
        rows = np.concatenate([np.cos(along), np.sin(along)], 1) * np.tile(height, 2)
        columns = np.concatenate([np.sin(across), np.cos(across)], 1)
        return (rows.astype(np.float32) @ columns.astype(np.float32).T).astype(np.float32)


def paint(background: Background, x_W: Plane, y_H: Plane, half_height: float) -> Plane:
    """The colors at places, in units of the shorter side: float32 [H, W, 3] from 0 to 255.

    `half_height`: how far below the middle the picture ended at the start, for the horizon.
    """
    pixel = float(abs(y_H[1] - y_H[0])) if len(y_H) > 1 else 1.0
    first, *rest = (np.array(color, np.float32) for color in background_colors(background))
    second = rest[0] if rest else first
    weight, shade = _pattern(background, x_W, y_H, pixel, half_height)
    colors = first + weight[..., None] * (second - first)
    return np.broadcast_to(colors * shade[..., None], (len(y_H), len(x_W), 3))


def _pattern(
    background: Background, x_W: Plane, y_H: Plane, pixel: float, half_height: float
) -> tuple[Plane, Plane]:
    """How much of the second color there is, and how bright: both may be of one row or column."""
    full = np.ones((1, 1), np.float32)
    kind = background.kind
    if kind in PLACES:
        return _place(background, x_W, y_H, pixel, half_height)
    if kind == "gradient":
        return np.clip(0.5 + y_H[:, None] / half_height / 2, 0.0, 1.0), full
    if kind in _STRIPES:
        right, down = _STRIPES[kind]
        slope = math.hypot(right, down)
        places = (right * x_W[None, :] + down * y_H[:, None]) / slope
        return 0.5 + _square_wave(places, background.period, pixel) / 2, full
    if kind == "checkerboard":
        period = background.period
        columns, rows = (_square_wave(places, 1.3 * period, pixel) for places in (x_W, y_H))
        return 0.5 + rows[:, None] * columns / 2, full
    if kind == "clouded":
        field = _waves(background.texture, 4.0, 16.0, 1.0).at(x_W, y_H, pixel)
        return np.clip(0.5 + 0.7 * field, 0.0, 1.0), full
    return np.zeros((1, 1), np.float32), full


def _place(
    background: Background, x_W: Plane, y_H: Plane, pixel: float, half_height: float
) -> tuple[Plane, Plane]:
    """A plane below a sky, or nothing but sky."""
    clouds = _waves(background.texture, 3.0, 12.0, 2.0).at(x_W, y_H, pixel)
    if background.kind == "sky":
        return np.clip(0.4 + 0.8 * clouds, 0.0, 1.0), np.ones((1, 1), np.float32)
    horizon = background.horizon * half_height
    below = np.clip((y_H - horizon) / pixel + 0.5, 0.0, 1.0)[:, None]
    ground = _waves(background.texture + 1, 8.0, 60.0, 3.0).at(x_W, y_H, pixel)
    shade = 1.0 + 0.05 * clouds * (1.0 - below) + 0.16 * ground * below
    return below, shade


@lru_cache(maxsize=64)
def _waves(texture: int, longest: float, shortest: float, flatness: float) -> Waves:
    """Waves in all directions, from `longest` to `shortest` in radians per side; `flatness` presses them."""
    if texture < 0:
        return Waves(table=np.empty((0, 4)))
    lots = Random(f"texture {texture}")
    table = np.empty((_NUM_WAVES, 4))
    for number in range(_NUM_WAVES):
        length = longest * (shortest / longest) ** (number / (_NUM_WAVES - 1))
        angle = math.tau * lots.random()
        right, down = math.cos(angle) * length, math.sin(angle) * length * flatness
        table[number] = right, down, math.tau * lots.random(), (longest / length) ** 0.5
    table[:, 3] /= 2.0 * np.sqrt((table[:, 3] ** 2).sum() / 2)
    return Waves(table=table)


def _square_wave(places: Plane, period: float, pixel: float) -> Plane:
    """1 and -1 in turn, with edges that are one pixel wide."""
    fraction = (places / period) % 1.0
    to_the_edge = (np.abs(fraction - 0.5) - 0.25) * period
    return np.clip(2.0 * to_the_edge / pixel, -1.0, 1.0).astype(np.float32)
