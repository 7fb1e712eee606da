"""What `curves` may be told. No torch here."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar


@dataclass(frozen=True, kw_only=True)
class CurvesConfig:
    """Draw how numbers of training runs went, from the metrics.jsonl of each."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    keys: tuple[str, ...] = ("smoothed_loss", "validation_loss", "validation_psnr")
    """Numbers of metrics.jsonl, a chart for each; those that no run has are left out."""
    logarithmic: bool = True
    """Draw heights by their logarithms, where all of a chart are above zero."""
    title: str = ""
    """Above the charts."""
    out: Path = Path("curves.png")
    """The picture to write."""
