"""Work that any process of any machine can do: plain data there, plain data back."""

from dataclasses import dataclass
from typing import Literal

from reelwright.protocols.cache_configs import CacheConfig
from reelwright.protocols.caching import CacheEntry
from reelwright.protocols.clips import Clip
from reelwright.protocols.datasets import DatasetConfig

Kind = Literal["latents", "text"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One clip or caption that is to be encoded."""

    name: str
    """What people call it, in messages."""
    folder: str
    """The cache folder, a path or URL."""
    entries: tuple[CacheEntry, ...]
    """The files it becomes."""
    fingerprint: str
    """Of all that the files follow from."""
    clip: Clip | None = None
    """Of latents."""
    caption: str = ""
    """Of text."""
    dataset: DatasetConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """Items of one group, to be encoded by one process with the family's networks."""

    number: int
    family: str
    kind: Kind
    config: CacheConfig
    batch_size: int
    items: tuple[Item, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class ItemDone:
    """All files of an item are written."""

    item: Item
    seconds: float
    peak_memory: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class ItemFailed:
    """An item that could not be encoded; the others are."""

    item: Item
    message: str


Outcome = ItemDone | ItemFailed


def memory_advice(kind: Kind) -> str:
    """What to do where memory runs out, or the system kills who takes too much of it."""
    if kind == "latents":
        return "Add --execution.tiling, take a lower resolution, or fewer --processes."
    return "Take fewer --processes, or --execution.device cpu."
