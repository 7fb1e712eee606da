"""A picture of how often something falls into each of several ranges."""

from collections.abc import Sequence

from PIL import Image, ImageDraw

from reelwright.media.contact_sheet import BACKGROUND, INK, sheet_font

_BAR = (96, 165, 250)
_WIDTH, _HEIGHT = 36, 240
_MARGIN, _CAPTION = 12, 20


def draw_bars(shares: Sequence[float], labels: Sequence[str], title: str) -> Image.Image:
    """Bars side by side, the highest as high as the picture; below each where its range begins.

    `labels` are one more than `shares`: the last is where the last range ends.
    """
    width = len(shares) * _WIDTH + 3 * _MARGIN
    image = Image.new("RGB", (width, _HEIGHT + 3 * _CAPTION + _MARGIN), BACKGROUND)
    draw = ImageDraw.Draw(image)
    draw.text((_MARGIN, _CAPTION // 2), title, INK, font=sheet_font())
    floor, highest = 2 * _CAPTION + _HEIGHT, max(*shares, 1e-9)
    for number, label in enumerate(labels):
        left = _MARGIN + number * _WIDTH
        draw.text(
            (left, floor + _CAPTION // 2), label, INK, font=sheet_font(), anchor="mt" if number else "lt"
        )
        if number < len(shares):
            top = floor - round(_HEIGHT * shares[number] / highest)
            draw.rectangle((left + 2, top, left + _WIDTH - 3, floor), _BAR)
            middle = (left + _WIDTH // 2, top - 3)
            draw.text(middle, f"{shares[number]:.1%}", INK, font=sheet_font(), anchor="mb")
    return image
