"""A picture of how numbers change: lines over steps."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from reelwright.media.contact_sheet import BACKGROUND, INK, sheet_font

Points = Sequence[tuple[float, float]]
"""Places on the horizontal axis, ascending, and heights; all finite."""

_COLORS = ((96, 165, 250), (251, 146, 60), (74, 222, 128), (244, 114, 182), (250, 204, 21), (148, 163, 184))
_GRID = (63, 63, 70)
_WIDTH, _HEIGHT = 640, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 16, 34, 28
_NUM_LEVELS = 4


def draw_lines(curves: Mapping[str, Points], title: str, *, logarithmic: bool = False) -> Image.Image:
    """All curves in one chart, each in a color of its own with its name beside the title.

    Heights are drawn by their logarithms where asked, if all of them are above zero. There is at least one
    point.
    """
    axes = _axes([point for points in curves.values() for point in points], logarithmic=logarithmic)
    image = Image.new("RGB", (_WIDTH, _HEIGHT), BACKGROUND)
    canvas, font = ImageDraw.Draw(image), sheet_font()
    _draw_grid(canvas, axes)
    canvas.text((_LEFT, 10), title, INK, font=font)
    beside = _LEFT + canvas.textlength(title, font=font) + 24
    for number, (name, points) in enumerate(curves.items()):
        color = _COLORS[number % len(_COLORS)]
        corners = [axes.place(*point) for point in points]
        canvas.line(corners if len(corners) > 1 else [*corners, *corners], color, width=2)
        canvas.text((beside, 10), name, color, font=font)
        beside += canvas.textlength(name, font=font) + 16
    return image


@dataclass(frozen=True, kw_only=True)
class _Axes:
    """Which numbers lie where in the picture."""

    first: float
    last: float
    low: float
    """Logarithms, where heights are drawn so."""
    high: float
    is_logarithmic: bool

    def place(self, place: float, height: float) -> tuple[float, float]:
        return self._right(place), self._down(math.log(height) if self.is_logarithmic else height)

    def levels(self) -> list[tuple[float, float]]:
        """Heights at even distances in the picture: how far down they are, and the number."""
        scaled = [self.low + (self.high - self.low) * level / _NUM_LEVELS for level in range(_NUM_LEVELS + 1)]
        return [(self._down(each), math.exp(each) if self.is_logarithmic else each) for each in scaled]

    def _right(self, place: float) -> float:
        return _LEFT + (place - self.first) / (self.last - self.first) * (_WIDTH - _LEFT - _RIGHT)

    def _down(self, scaled: float) -> float:
        up = (scaled - self.low) / (self.high - self.low)
        return _HEIGHT - _BOTTOM - up * (_HEIGHT - _TOP - _BOTTOM)


def _axes(points: Points, *, logarithmic: bool) -> _Axes:
    places, heights = zip(*points, strict=True)
    is_logarithmic = logarithmic and min(heights) > 0
    first, last = _range(places)
    low, high = _range([math.log(height) for height in heights] if is_logarithmic else heights)
    return _Axes(first=first, last=last, low=low, high=high, is_logarithmic=is_logarithmic)


def _draw_grid(canvas: ImageDraw.ImageDraw, axes: _Axes) -> None:
    font = sheet_font()
    for down, height in axes.levels():
        canvas.line((_LEFT, down, _WIDTH - _RIGHT, down), _GRID)
        canvas.text((_LEFT - 6, down), f"{height:.3g}", INK, font=font, anchor="rm")
    below = _HEIGHT - _BOTTOM + 8
    canvas.text((_LEFT, below), f"{axes.first:g}", INK, font=font, anchor="lt")
    canvas.text((_WIDTH - _RIGHT, below), f"{axes.last:g}", INK, font=font, anchor="rt")


def _range(values: Sequence[float]) -> tuple[float, float]:
    """From the least to the greatest; of equal ones a range around them."""
    low, high = min(values), max(values)
    return (low, high) if low < high else (low - 0.5, high + 0.5)
