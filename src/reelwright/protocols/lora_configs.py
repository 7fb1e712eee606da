"""What the actions on LoRA files may be told; words without a flag are marked so. No torch here."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro
from annotated_types import Ge, Le


@dataclass(frozen=True, kw_only=True)
class _File:
    family: str = ""
    """Which family's names to go by; empty tries all."""
    alpha: Annotated[float, Ge(0.0)] = 0.0
    """Alpha of a file that says none; 0 is unset."""


@dataclass(frozen=True, kw_only=True)
class InspectLine(_File):
    """Tell what a LoRA file holds: layout, model, ranks, alphas, modules, norms, metadata."""

    file: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")]
    """A LoRA, LoHa or LoKr in any known layout."""


@dataclass(frozen=True, kw_only=True)
class ConvertLine(_File):
    """Write a LoRA in another layout; what it changes stays the same."""

    file: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")]
    """A LoRA, LoHa or LoKr in any known layout."""
    out: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")]
    """The file to write; with --to peft also a folder."""
    to: str = "native"
    """native (kohya and musubi-tuner), peft, diffusers, or hunyuan-fused where the family has it."""


@dataclass(frozen=True, kw_only=True)
class MergeLine(_File):
    """Make one LoRA of several, exactly: it does what they do together, and its rank is the sum of theirs."""

    files: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="FILE")] = ()
    """LoRAs in any known layouts."""
    out: Path = field(default=Path("merged.safetensors"))
    """The file to write."""
    multipliers: tuple[float, ...] = ()
    """How strongly each is taken; 1 where none is given."""
    to: str = "native"
    """The layout of the file, as for convert."""


@dataclass(frozen=True, kw_only=True)
class ExtractLine:
    """Make a LoRA of what sets a tuned model apart from its base: the nearest one of its rank."""

    base: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="BASE")]
    """The model before: a folder in a released layout, or a file of its transformer."""
    tuned: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="TUNED")]
    """The model after, in the same layout or another."""
    out: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")]
    """The file to write; with --to peft also a folder."""
    rank: Annotated[int, Ge(1)] = 16
    """How much it can hold; you are told how much of the change that is."""
    to: str = "native"
    """The layout of the file, as for convert."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Its number format."""
    family: str = ""
    """Which family's models these are; empty tries all."""


@dataclass(frozen=True, kw_only=True)
class EmaLine:
    """Average the files that one training saved, given from the first to the last."""

    files: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="FILE")] = ()
    """LoRA, LoHa or LoKr files of one training, in one layout."""
    out: Path = field(default=Path("averaged.safetensors"))
    """The file to write."""
    beta: Annotated[float, Ge(0.0), Le(1.0)] = 0.95
    """How much of the average stays when the next file comes."""
    beta_end: Annotated[float, Le(1.0)] = -1.0
    """From the second file to the last, beta goes to this in equal steps; below 0 it stays the same."""
    sigma_rel: Annotated[float, Ge(0.0), Le(0.288)] = 0.0
    """Instead of beta: the width of the average, as a share of the training; 0 is unset."""


LoraLine = InspectLine | ConvertLine | MergeLine | ExtractLine | EmaLine
LORA_ACTIONS: dict[str, type[LoraLine]] = {
    "inspect": InspectLine,
    "convert": ConvertLine,
    "merge": MergeLine,
    "extract": ExtractLine,
    "ema": EmaLine,
}
