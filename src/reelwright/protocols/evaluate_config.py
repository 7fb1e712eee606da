"""What `evaluate` may be told. No torch here."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from annotated_types import Ge, Le


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """Tell whether clips show what their prompts say, and how steady they are."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    prompt: str = ""
    """What the clips should show; else the record inside each clip says it, or the text file beside it."""
    prompts: Path | None = None
    """A text file with a line for each clip, in the order of their names; # begins a comment."""
    fps: Annotated[float, Ge(0.0), Le(1000.0)] = 0.0
    """Frames per second of folders of pictures; 0 takes 8. Clips say it themselves."""
    at_least: Annotated[float, Ge(0.0), Le(100.0)] = 0.0
    """Fail with exit code 1 if fewer percent of the attributes are right."""
    report: Path = Path("evaluation.json")
    """The file to write: every attribute of every clip."""
