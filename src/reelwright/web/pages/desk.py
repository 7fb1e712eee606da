"""What the pages remember between visits: the look, the family at hand, the settings last filled in."""

import json
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from reelwright.core.paths import write_text_atomic

Values = dict[str, Any]
"""What of a schema is changed, nested as in a recipe."""


@dataclass
class Desk:
    """One for all tabs of a studio, kept in a file beside the queue; a tab may close and come back."""

    path: Path
    dark: bool | None = None
    """None follows the browser."""
    family: str = ""
    drafts: dict[str, Values] = field(default_factory=dict[str, Values])
    """By family: what stands in the form of Generate."""
    job: str = ""
    """The job that Generate shows."""

    @classmethod
    def open(cls, folder: Path) -> "Desk":
        """The desk as it was left; a fresh one where there is none, or none that can be read."""
        path = folder / "desk.json"
        with suppress(OSError, ValueError):
            known = json.loads(path.read_text(encoding="utf-8"))
            return TypeAdapter(cls).validate_python({**known, "path": path})
        return cls(path)

    def keep(self) -> None:
        """Write it down. A full disk costs the memory of it, not the page."""
        with suppress(OSError):
            write_text_atomic(self.path, json.dumps({**asdict(self), "path": ""}, ensure_ascii=False))
