"""Orders of a family that needs no networks, and what its encoders do on demand."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from reelwright.protocols.cache_configs import CacheConfig
from reelwright.protocols.caching import CacheEntry, CacheFile, ClipFrames
from reelwright.protocols.clips import Clip, MediaFacts, Source
from reelwright.protocols.datasets import DatasetConfig
from reelwright.workflows.caching.orders import Item, Order

CHUNK = torch.zeros(4, 8, 8, 3, dtype=torch.uint8)


def item(name: str, folder: Path, caption: str = "") -> Item:
    source = Source(media=name, kind="video", stem=name, caption=caption, caption_origin=f"{name}.txt")
    facts = MediaFacts(size=(8, 8), num_frames=8, fps=8.0, duration=1.0, content="0" * 64)
    return Item(
        name=name,
        folder=str(folder),
        entries=(CacheEntry(name=f"{name}.safetensors", group=""),),
        fingerprint=f"of {name}",
        clip=Clip(source=source, facts=facts, start=0, num_frames=8, size=(8, 8), fps=8.0),
        caption=caption,
        dataset=DatasetConfig(),
    )


def order(items: Sequence[Item], *, kind: str = "latents", batch_size: int = 1, number: int = 0) -> Order:
    return Order(
        number=number,
        family="drawn",
        kind=kind,
        config=CacheConfig(),
        batch_size=batch_size,
        items=tuple(items),
    )


@dataclass
class DrawnFamily:
    """Encoders that note what they are given; `trouble` is called with each batch of names or captions."""

    trouble: Callable[[list[str]], None] = lambda names: None
    batches: list[list[str]] = field(default_factory=list)
    file_name: str = "{}.safetensors"
    num_opened: int = 0

    def open(self) -> "DrawnFamily":
        self.num_opened += 1
        return self

    def encode(self, batch: Sequence[ClipFrames | str]) -> list:
        names = [each if isinstance(each, str) else each.clip.source.stem for each in batch]
        self.batches.append(names)
        self.trouble(names)
        return [self._made(each) for each in batch]

    def metadata(self, caption: str) -> dict[str, str]:
        return {"caption": caption}

    def _made(self, one: ClipFrames | str) -> object:
        if isinstance(one, str):
            return {"features": torch.tensor([float(len(one))])}
        frames = torch.cat(list(one.chunks()))
        name = self.file_name.format(one.clip.source.stem)
        return [CacheFile(name=name, tensors={"latents": frames.float().mean().view(1)}, metadata={})]


def readers() -> list[threading.Thread]:
    """The threads that read clips now."""
    return [thread for thread in threading.enumerate() if thread.name.startswith("read-clip")]
