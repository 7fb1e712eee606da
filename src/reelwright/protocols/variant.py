"""One released model."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

ASSETS = Path(__file__).parents[1] / "assets"
"""Where the models are that are part of this package."""


@dataclass(frozen=True, kw_only=True)
class ReleasedPart:
    """A part of a released model and where its files are."""

    name: str
    """Its folder in a whole model."""
    patterns: tuple[str, ...]
    """Which files of the repository it is."""
    flag: str = ""
    """Which flag of `generate` names files of one's own for it; empty if none does."""
    repositories: tuple[str, ...] = ()
    """Hub ids, the one to download from first, where they are not those of the model."""
    is_at_top: bool = False
    """Whether its files are not in a folder of their own."""
    license: str = ""
    """Where it is not that of the model."""


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A model by name: where its files are and what may be done with them."""

    name: str
    """What users write after --model."""
    title: str
    license: str
    dtype: Literal["float32", "bfloat16", "float16"]
    """Number format it was released in."""
    repositories: tuple[str, ...] = ()
    """Hub ids, the one to download from first."""
    embedded: str = ""
    """Folder under assets/, for models that come with the package."""
    parts: tuple[ReleasedPart, ...] = ()
    """All that is needed to generate."""
