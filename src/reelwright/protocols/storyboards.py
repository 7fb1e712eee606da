"""How a family of sections reads storyboards, for those who write them: pages and editors. No torch here."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class StorySchema:
    """A TOML file: keys for the whole video, and below them a table for each part of it in time order."""

    field: str = "story"
    """The field of the family's GENERATE that takes such a file."""
    file: type[Any]
    """The keys for the whole video, and `tables`."""
    tables: str = "section"
    """The key whose tables are the parts."""
    part: type[Any]
    """The keys of a part; `prompt`, `image` and `seconds` among them."""
    section_seconds: Callable[[Any], float]
    """Configuration -> how long one section lasts."""
    num_sections: Callable[[Any, Any], int]
    """(a part, configuration) -> how many sections it is."""
