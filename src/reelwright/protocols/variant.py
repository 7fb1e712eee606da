"""One released model."""

from dataclasses import dataclass
from typing import Literal


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
