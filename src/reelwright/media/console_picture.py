"""Pictures as text for a terminal: each character shows two pixels, one above the other."""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image
from rich.color import Color, ColorParseError
from rich.console import Console
from rich.style import Style
from rich.text import Text

from reelwright.core.errors import ConfigError
from reelwright.media.frame_chunks import Pixels

_UPPER_HALF = "▀"


def console_picture(frames: Sequence[Pixels], lines: Sequence[str], *, width: int, back: str = "") -> str:
    """Lines of words and below them frames side by side, `width` characters in all, with ANSI colors.

    Raises ConfigError for a color `back` that rich does not know.
    """
    text = io.StringIO()
    console = Console(
        file=text, force_terminal=True, color_system="truecolor", width=width, legacy_windows=False
    )
    style = Style(bgcolor=parse_color(back))
    for line in lines:
        console.print(Text(line), style=style)
    console.print(_half_blocks(_side_by_side(frames, width)), end="")
    return text.getvalue()


def parse_color(name: str) -> Color | None:
    """The color of a name, None for an empty one. Raises ConfigError for a name that rich does not know."""
    try:
        return Color.parse(name.lower()) if name else None
    except ColorParseError as error:
        raise ConfigError(
            f"console_back: {name!r} is no color. Use a name such as black, red or bright_blue, or #rrggbb."
        ) from error


def _side_by_side(frames: Sequence[Pixels], width: int) -> Image.Image:
    """Frames in equal columns, each pixel row half a line; a character is about twice as high as wide."""
    column = max(width // len(frames), 1)
    height = max(round(frames[0].shape[0] * column / frames[0].shape[1] / 2), 1) * 2
    row = Image.new("RGB", (column * len(frames), height))
    for number, frame in enumerate(frames):
        small = Image.fromarray(frame).resize((column, height), Image.Resampling.BOX)
        row.paste(small, (column * number, 0))
    return row


def _half_blocks(image: Image.Image) -> Text:
    pixels = np.asarray(image)
    text = Text()
    for upper_row, lower_row in zip(pixels[::2], pixels[1::2], strict=True):
        for upper, lower in zip(upper_row, lower_row, strict=True):
            text.append(_UPPER_HALF, Style(color=Color.from_rgb(*upper), bgcolor=Color.from_rgb(*lower)))
        text.append("\n")
    return text
