"""One picture that shows a whole clip at a glance."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from reelwright.media.frame_chunks import each_frame

_GAP = 6
_CAPTION_HEIGHT = 18
_FONT_SIZE = 12
_SMALLEST_WIDTH = 120
"""Below this a caption does not fit; smaller frames are enlarged by a whole factor."""
BACKGROUND = (24, 24, 27)
INK = (212, 212, 216)


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One picture of a sheet, with words below its left and its right end."""

    picture: Image.Image
    left: str = ""
    right: str = ""


class ContactSheet:
    """Collects evenly spaced frames, first and last included, while a clip streams by.

    Only thumbnails are kept, so memory does not depend on the length of the clip.
    """

    def __init__(
        self, num_frames: int, *, fps: float, columns: int = 4, rows: int = 3, thumbnail_width: int = 240
    ) -> None:
        self._fps = fps
        self._columns = columns
        self._thumbnail_width = thumbnail_width
        self._picks = set(evenly_spaced(num_frames, columns * rows))
        self._num_seen = 0
        self._thumbnails: dict[int, Image.Image] = {}

    def add(self, chunk_FHWC: Tensor) -> None:
        """Take the next frames of the clip, uint8, in order."""
        for index in range(len(chunk_FHWC)):
            if self._num_seen + index in self._picks:
                (frame_HWC,) = each_frame([chunk_FHWC[index : index + 1]])
                picture = thumbnail(Image.fromarray(frame_HWC), self._thumbnail_width)
                self._thumbnails[self._num_seen + index] = picture
        self._num_seen += len(chunk_FHWC)

    def image(self) -> Image.Image:
        """The sheet of what was added so far, with frame number (from 0) and time below each."""
        if not self._thumbnails:
            raise ValueError("contact sheet: no frame was added")
        cells = [
            Cell(picture=picture, left=f"frame {index}", right=f"{index / self._fps:.2f} s")
            for index, picture in self._thumbnails.items()
        ]
        return draw_sheet(cells, self._columns)


def draw_sheet(cells: Sequence[Cell], most_columns: int) -> Image.Image:
    """Pictures of one size side by side, in as many rows as that takes, with their words below."""
    width, height = cells[0].picture.size
    columns = min(most_columns, len(cells))
    rows = -(-len(cells) // columns)
    cell_width, cell_height = width + _GAP, height + _CAPTION_HEIGHT + _GAP
    sheet = Image.new("RGB", (columns * cell_width + _GAP, rows * cell_height + _GAP), BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    for number, cell in enumerate(cells):
        left = _GAP + number % columns * cell_width
        top = _GAP + number // columns * cell_height
        sheet.paste(cell.picture, (left, top))
        middle = top + height + _CAPTION_HEIGHT // 2
        draw.text((left + 1, middle), cell.left, INK, font=sheet_font(), anchor="lm")
        draw.text((left + width - 1, middle), cell.right, INK, font=sheet_font(), anchor="rm")
    return sheet


def evenly_spaced(num_items: int, most: int) -> list[int]:
    """At most `most` indices below `num_items`, evenly spaced, the first and the last among them."""
    if num_items <= most:
        return list(range(num_items))
    if most == 1:
        return [0]
    return [(2 * step * (num_items - 1) + most - 1) // (2 * (most - 1)) for step in range(most)]


def thumbnail(frame: Image.Image, width: int) -> Image.Image:
    """The picture at most `width` wide; one that is too small for its caption is enlarged without blur."""
    if frame.width > width:
        height = max(round(frame.height * width / frame.width), 1)
        return frame.resize((width, height), Image.Resampling.LANCZOS)
    factor = -(-min(_SMALLEST_WIDTH, width) // frame.width)
    return frame.resize((frame.width * factor, frame.height * factor), Image.Resampling.NEAREST)


@cache
def sheet_font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Of all words on sheets."""
    return ImageFont.load_default(_FONT_SIZE)
