"""What `dataset lint` may be told, whatever the family. No torch here."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from annotated_types import Ge


@dataclass(frozen=True, kw_only=True)
class LintConfig:
    """Tell what is wrong with the clips and captions of data sets, and what their caches will take."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    fix: bool = False
    """Write a data set to `out` with bars cut off, scenes apart and still ends trimmed. Originals stay as
    they are; what cannot be mended is listed and left out."""
    out: Path | None = None
    """The folder for --fix; a run that was stopped goes on there."""
    measure: bool = False
    """Encode a small sample to tell how long the caches will take on this machine."""
    num_workers: Annotated[int, Ge(0)] = 0
    """Threads that watch clips; 0 chooses."""
