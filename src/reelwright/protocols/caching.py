"""What a family does for caches: which files a clip or caption becomes, and what they hold."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from reelwright.protocols.clips import Clip, ClipRule, Source
from reelwright.protocols.datasets import DatasetConfig


@dataclass(frozen=True, kw_only=True)
class CacheFile:
    """One file of a cache folder. Who writes it adds the fingerprint and the digest to its metadata."""

    name: str
    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class CacheEntry:
    """One file that a clip will become, known before anything is encoded."""

    name: str
    group: str
    """Items of one group can be stacked to a batch: it tells their sizes, lengths and whatever else. It
    begins with WIDTHxHEIGHT in pixels, or WIDTHxHEIGHTxFRAMES where groups differ in length."""
    num_items: int = 1
    """Training items in the file: the sections of a clip that is stored once."""
    num_bytes: int = 0
    """About how large it will be."""


@dataclass(frozen=True, kw_only=True)
class ClipFrames:
    """A clip and its pixels, read while they are used, and again where they are asked for again."""

    clip: Clip
    dataset: DatasetConfig
    chunks: Callable[[], Iterator[Tensor]]
    """uint8 chunk_FHWC in [0, 255], of the clip's size, `clip.num_frames` in all. Asking again starts at the
    first frame and ends what was given before."""


class LatentEncoder(Protocol):
    """Networks loaded in the process that encodes."""

    def encode(self, batch: Sequence[ClipFrames], /) -> Sequence[Sequence[CacheFile]]:
        """The files of each clip; clips of one batch are equal in size and length."""
        ...


class LatentCache(Protocol):
    """How the clips of data sets become files of latents, with a checkpoint found and nothing loaded."""

    @property
    def fingerprints(self) -> Mapping[str, str]:
        """Part of the model that latents depend on -> short name of its files' content."""
        ...

    @property
    def notices(self) -> Sequence[str]:
        """What a user should know."""
        ...

    @property
    def kind(self) -> str:
        """Names the index in a cache folder: a folder may hold several kinds."""
        ...

    def rule(self, dataset: DatasetConfig, /) -> ClipRule:
        """What clips of a data set must be. Raises ConfigError for keys that the family cannot follow."""
        ...

    def entries(self, clip: Clip, dataset: DatasetConfig, /) -> Sequence[CacheEntry]:
        """The files of a clip. Raises UserError with what is wrong with it."""
        ...

    def facts(self, dataset: DatasetConfig, /) -> Mapping[str, object]:
        """All else that the latents follow from, as JSON can hold it: mode, window, encoders, posterior."""
        ...

    def is_own(self, name: str, /) -> bool:
        """Whether this cache, or a program it is compatible with, may have written a file of that name."""
        ...

    def open(self) -> LatentEncoder:
        """Load the networks."""
        ...


class TextEncoder(Protocol):
    """Text encoders loaded in the process that encodes."""

    def encode(self, captions: Sequence[str], /) -> Sequence[Mapping[str, Tensor]]:
        """The tensors of each caption's file."""
        ...


class TextCache(Protocol):
    """How captions become files of features, with encoders found and nothing loaded."""

    @property
    def fingerprints(self) -> Mapping[str, str]: ...

    @property
    def notices(self) -> Sequence[str]: ...

    @property
    def kind(self) -> str:
        """Names the index in a cache folder."""
        ...

    @property
    def max_tokens(self) -> int:
        """Tokens of a caption that count; what is more is cut off."""
        ...

    def count_tokens(self, caption: str, /) -> int: ...

    def entry(self, source: Source, /) -> CacheEntry: ...

    def metadata(self, caption: str, /) -> Mapping[str, str]: ...

    def facts(self) -> Mapping[str, object]:
        """All that features follow from beside the caption."""
        ...

    def is_own(self, name: str, /) -> bool: ...

    def open(self) -> TextEncoder: ...


class ItemReader(Protocol):
    """From the tensors of one file of latents to what the trainer is given."""

    def read(
        self, tensors: Mapping[str, Tensor], item: int, generator: torch.Generator, /
    ) -> dict[str, Tensor]:
        """Training item `item` of the file. `generator` draws from stored moments: it is seeded for item and
        epoch."""
        ...

    def read_text(self, tensors: Mapping[str, Tensor], /) -> dict[str, Tensor]:
        """The features of a caption, by the names the trainer knows."""
        ...


@dataclass(frozen=True, kw_only=True)
class ForeignEntry:
    """A file that another program wrote, and what it is here."""

    path: Path
    name: str
    """Its name in our cache folder."""
    convert: Callable[[], CacheFile] | None = None
    """Makes our file of it; None where the file can be used as it is."""


@dataclass(frozen=True, kw_only=True)
class Caching:
    """A family's functions for data sets and caches."""

    locate_latents: Callable[[Any], LatentCache]
    """From the family's configuration of `cache latents`. Raises UserError."""
    locate_texts: Callable[[Any], TextCache]
    """From the family's configuration of `cache text`. Raises UserError."""
    reader: Callable[[Any, DatasetConfig], ItemReader]
    """From the configuration of `cache latents` and a data set: what its files are read as."""
    kinds: Mapping[str, Callable[[str], bool]]
    """Each kind of cache that there is, and whether it may have written a file of some name: known without a
    checkpoint. Kinds and answers are those of LatentCache and TextCache."""
    foreign: Callable[[Path, Any, Mapping[str, str]], Sequence[ForeignEntry]]
    """The files of other programs in a folder, for a configuration of `cache latents` or `cache text`; and
    for the latter the captions by the names of their files here. Raises FileError for what is none."""
