"""All that the program knows of a model family."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from reelwright.core.events import Event
from reelwright.protocols.configs import GenerateConfig


class Model(Protocol):
    """A checkpoint that was found and checked, with nothing loaded."""

    @property
    def fingerprints(self) -> Mapping[str, str]:
        """Part of the model -> short name of its files' content."""
        ...

    @property
    def notices(self) -> Sequence[str]:
        """What a user should know of this checkpoint."""
        ...


class Request(Protocol):
    """One clip to make: everything decided and every input read, with nothing loaded."""

    @property
    def config(self) -> GenerateConfig:
        """The configuration with all values that were left open filled in."""
        ...

    @property
    def notices(self) -> Sequence[str]:
        """What was adjusted."""
        ...


@dataclass(frozen=True, kw_only=True)
class Segment:
    """Latents that are final, and how to see them."""

    latents_BCTHW: Tensor
    num_frames: int
    """How many frames `decode` yields in all."""
    fps: float
    decode: Callable[[], Iterator[Tensor]]
    """Yields chunks of frames, uint8 chunk_FHWC."""
    flaw: str = ""
    """Why the latents are not worth decoding; they are kept all the same."""


@dataclass(frozen=True, kw_only=True)
class Preview:
    """A rough picture of the clip after a step: uint8 [H, W, 3]."""

    image_HWC: Tensor
    step: int


@dataclass(frozen=True, kw_only=True)
class Family:
    """Values and functions, which take the family's own kinds of Model and Request; nothing else."""

    name: str
    locate: Callable[[Any], Model]
    """Find and check the checkpoint that a configuration names. Raises UserError."""
    resolve: Callable[[Any, Any], Request]
    """Decide what a configuration leaves open and read its inputs. Raises UserError with all problems."""
    generate: Callable[[Any, Sequence[Any]], Iterator[Event | Preview | Segment]]
    """Make the clips in order; a Segment ends each clip."""
    open_latents: Callable[[Any, Tensor, Any], Segment]
    """See latents that were saved before."""
    input_fields: tuple[str, ...]
    """Fields of the configuration that name input files."""


def file_inputs(family: Family, config: GenerateConfig) -> dict[str, Path]:
    """The input files that a configuration names, by field."""
    paths = {name: getattr(config, name) for name in family.input_fields}
    return {name: path for name, path in paths.items() if path is not None}
