"""What `reelwright plan` may be told beside the command that it plans. No torch here."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_types import Ge


@dataclass(frozen=True, kw_only=True)
class PlanConfig:
    """For which machine, and, where no clip says it, for which clips."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    gpu: str = ""
    """Plan for this card, such as 4090 or H100, whatever is in this machine."""
    clip: tuple[Annotated[int, Ge(1)], ...] = ()
    """Height, width and frames of the clips that are trained on or encoded; without them the largest of the
    data set, or without one the model's own."""
    batch: Annotated[int, Ge(1)] = 1
    """Clips that are trained on or encoded together; 1 takes what the data set says."""
    clips: Annotated[int, Ge(1)] = 1
    """How many clips are encoded, where no data set tells."""
