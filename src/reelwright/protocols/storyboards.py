"""How a family of sections reads storyboards, for those who write them: pages and editors. No torch here."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class StorySchema:
    """A TOML file: keys for the whole video, and below them a table for each part of it in time order."""

    field: str = "story"
    """The field of the family's GENERATE that takes such a file."""
    count: str = "video_sections"
    """The field that says how many sections a video has, where there is no such file."""
    whole: type[Any]
    """The keys for the whole video."""
    tables: str = "section"
    """The key whose tables are the parts."""
    part: type[Any]
    """The keys of a part; `prompt` and `image` among them."""
    lengths: tuple[str, ...] = ("seconds", "sections")
    """Keys of a part that say how long it is, one of which is enough; the first does so in seconds."""
    answers: tuple[str, ...]
    """Fields of GENERATE that a storyboard leaves nothing to say about, as it says it for each part."""
    section_seconds: Callable[[Any], float]
    """Configuration -> how long one section lasts."""
    num_sections: Callable[[Any, Any], int]
    """(a part, configuration) -> how many sections it is."""
