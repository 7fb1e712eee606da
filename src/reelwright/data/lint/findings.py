"""What a check says of an item, and what all checks of one item go by."""

from dataclasses import dataclass
from typing import Literal

from reelwright.data.lint.look import Look
from reelwright.protocols.clips import ClipRule, MediaFacts, Source
from reelwright.protocols.datasets import DatasetConfig

Severity = Literal["error", "warning", "note"]
"""An error keeps the item from training, a warning may harm it, a note tells what will be done to it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing that is wrong or worth knowing; the message reads alone beside the item's name."""

    kind: str
    severity: Severity
    message: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """A picture or clip with all that is known of it."""

    source: Source
    dataset: DatasetConfig
    rule: ClipRule
    facts: MediaFacts
    look: Look

    @property
    def is_clip(self) -> bool:
        return self.source.kind == "video"

    @property
    def fps(self) -> float:
        """Frames per second that the clip will be read at."""
        return self.dataset.target_fps or self.rule.fps
