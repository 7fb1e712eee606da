"""How often each range of values occurs, as lines of text or as a picture."""

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from reelwright.media.contact_sheet import BACKGROUND, INK

_BAR = (56, 189, 248)
_WIDTH, _HEIGHT, _MARGIN = 640, 200, 24
_COLUMNS = 50


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """Amounts by range of values."""

    title: str
    first: float
    """Where the first range begins."""
    last: float
    """Where the last one ends; all are of one size."""
    amounts: Sequence[float]
    """Not negative, in the order of the ranges."""

    @property
    def shares(self) -> list[float]:
        """Of all; their sum is 1 unless there is nothing."""
        total = sum(self.amounts) or 1.0
        return [amount / total for amount in self.amounts]

    def start(self, index: int) -> float:
        """Where a range begins."""
        return self.first + (self.last - self.first) * index / len(self.amounts)


def histogram_text(histogram: Histogram) -> str:
    """A line for each range: where it begins, a bar, and its share."""
    highest = max(histogram.shares) or 1.0
    lines = [histogram.title]
    for index, share in enumerate(histogram.shares):
        bar = "█" * round(_COLUMNS * share / highest)
        lines.append(f"{histogram.start(index):7g} {bar:<{_COLUMNS}} {share:6.2%}")
    return "\n".join(lines)


def histogram_picture(histograms: Sequence[Histogram]) -> Image.Image:
    """The histograms below each other, with marks at the ends of their values."""
    picture = Image.new("RGB", (_WIDTH, _HEIGHT * len(histograms)), BACKGROUND)
    draw = ImageDraw.Draw(picture)
    for row, histogram in enumerate(histograms):
        _draw(draw, histogram, top=row * _HEIGHT)
    return picture


def _draw(draw: ImageDraw.ImageDraw, histogram: Histogram, *, top: int) -> None:
    bottom, left, right = top + _HEIGHT - _MARGIN, _MARGIN, _WIDTH - _MARGIN
    width = (right - left) / len(histogram.amounts)
    highest = max(histogram.shares) or 1.0
    for index, share in enumerate(histogram.shares):
        start = left + index * width
        if height := (_HEIGHT - 2 * _MARGIN) * share / highest:
            draw.rectangle((start, bottom - height, start + max(width - 2, 1), bottom), fill=_BAR)
    draw.line((left, bottom, right, bottom), fill=INK)
    draw.text((left, top + 4), f"{histogram.title} (highest: {highest:.2%})", fill=INK)
    draw.text((left, bottom + 4), f"{histogram.first:g}", fill=INK)
    draw.text((right, bottom + 4), f"{histogram.last:g}", fill=INK, anchor="ra")
