"""What a LoRA of ours says of how it was trained, so that it is used in the same way."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import get_args

from reelwright.adapters.plan import AdapterPlan
from reelwright.families.framepack.config import Direction, TrainingMode
from reelwright.families.framepack.one_frame import parse_one_frame

_VARIANT, _WINDOW, _ONE_FRAME = "ss_fp_variant", "ss_latent_window_size", "ss_fp_one_frame"
DIRECTIONS: Mapping[TrainingMode, Direction] = {"base": "backward", "f1": "forward"}


@dataclass(frozen=True, kw_only=True)
class LoraFacts:
    """What is not told is empty."""

    file: str = ""
    variant: TrainingMode | None = None
    window: int = 0
    """Latent frames of a section."""
    one_frame: str = ""
    """Options of single frames, as `generate` takes them."""

    @property
    def direction(self) -> Direction | None:
        """Single frames are made by both models."""
        return DIRECTIONS.get(self.variant) if self.variant else None

    def metadata(self) -> dict[str, str]:
        """What goes into the file."""
        told = {_VARIANT: self.variant or "", _WINDOW: str(self.window or ""), _ONE_FRAME: self.one_frame}
        return {name: text for name, text in told.items() if text}


def read_lora_facts(metadata: Mapping[str, str], file: str) -> LoraFacts:
    """From the metadata of a file. Raises ConfigError for options of single frames that nobody knows."""
    variant, window = metadata.get(_VARIANT, ""), metadata.get(_WINDOW, "")
    if one_frame := metadata.get(_ONE_FRAME, ""):
        parse_one_frame(one_frame, f"{file}: {_ONE_FRAME}")
    return LoraFacts(
        file=file,
        variant=next((known for known in get_args(TrainingMode) if known == variant), None),
        window=int(window) if window.isdecimal() else 0,
        one_frame=one_frame,
    )


def facts_of(adapters: AdapterPlan) -> list[LoraFacts]:
    """Of each LoRA that is used."""
    files = (chosen.file for chosen in adapters.chosen)
    return [read_lora_facts(file.metadata, file.path.name) for file in files]
