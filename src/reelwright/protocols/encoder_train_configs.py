"""What training text encoders may be told, whatever the family. No torch here."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge

from reelwright.protocols.train_configs import LearningConfig


@dataclass(frozen=True, kw_only=True)
class EncoderTrainConfig(LearningConfig):
    """Teach text encoders captions alone, before a denoiser learns from what they say."""

    stage: Literal["encoders"] = "encoders"
    """What is trained."""
    text_encoder: Path | None = None
    """A single file or folder with the text encoder instead of the model's own. For random weights a
    config.json is enough."""
    tokenizer: Path | None = None
    """A folder with the tokenizer instead of the model's own."""
    init: Literal["weights", "random"] = "weights"
    """Where encoders start: from the model's weights, or from weights drawn from the seed."""
    dataset: Path | None = None
    """A file of data sets, or a folder: their captions are read, nothing else."""
    captions: Path | None = None
    """A text file with a caption in each line, beside those of `dataset` or alone."""
    batch_size: Annotated[int, Ge(1)] = 32
    """Captions of a batch."""
