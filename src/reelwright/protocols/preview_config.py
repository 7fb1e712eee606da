"""What `dataset preview` may be told, whatever the family. No torch here."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from annotated_types import Ge, Le

PreviewView = Literal["sheet", "video", "console"]


@dataclass(frozen=True, kw_only=True)
class PreviewConfig:
    """How to look at data sets."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    out: Path = Path("preview")
    """The folder for pages and clips; the console needs none."""
    view: PreviewView = "sheet"
    """Pages of contact sheets, a file for each clip, or pictures in the terminal."""
    num_clips: Annotated[int, Ge(0)] = 64
    """At most so many clips, the first ones; 0 takes all."""
    frames: Annotated[int, Ge(0), Le(64)] = 0
    """Frames of each clip, evenly spaced, the first and the last among them; 0 takes 8 on sheets and 1 in the
    terminal."""
    rows: Annotated[int, Ge(1), Le(64)] = 8
    """Clips on a page."""
    thumbnail_width: Annotated[int, Ge(32), Le(1024)] = 144
    """Of frames on a page, in pixels."""
    console_width: Annotated[int, Ge(8), Le(1000)] = 80
    """Of a row of frames in the terminal, in characters."""
    console_back: str = ""
    """Color behind the text in the terminal, such as black or navy_blue; empty leaves it as it is."""
