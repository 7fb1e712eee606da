"""Contact sheets of several clips below each other, with words under each."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from reelwright.media.contact_sheet import BACKGROUND, INK, sheet_font

_LINE_HEIGHT = 16
_MARGIN = 6
_SPACE = 10
_NARROWEST = 480


@dataclass(frozen=True, kw_only=True)
class Row:
    """One clip of a page: its contact sheet, and what is said of it."""

    picture: Image.Image
    lines: Sequence[str]


def draw_page(rows: Sequence[Row]) -> Image.Image:
    """All rows on one picture, as wide as the widest; long lines are broken at spaces."""
    width = max(_NARROWEST, *(row.picture.width for row in rows))
    broken = [[part for line in row.lines for part in _broken(line, width - 2 * _MARGIN)] for row in rows]
    heights = [
        row.picture.height + _LINE_HEIGHT * len(lines) + _SPACE
        for row, lines in zip(rows, broken, strict=True)
    ]
    page = Image.new("RGB", (width, sum(heights)), BACKGROUND)
    draw = ImageDraw.Draw(page)
    top = 0
    for row, lines, height in zip(rows, broken, heights, strict=True):
        page.paste(row.picture, (0, top))
        for number, line in enumerate(lines):
            place = (_MARGIN, top + row.picture.height + number * _LINE_HEIGHT)
            draw.text(place, line, INK, font=sheet_font())
        top += height
    return page


def _broken(line: str, width: int) -> Iterable[str]:
    """The line in parts that fit; a word that is wider by itself stays whole."""
    part = ""
    for word in line.split():
        longer = f"{part} {word}".lstrip()
        if part and sheet_font().getlength(longer) > width:
            yield part
            longer = word
        part = longer
    yield part
