"""What a run will take: memory for each of its stages, disk and time, each term by name."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from reelwright.protocols.adapter_targets import AdapterTargets
from reelwright.protocols.configs import AutoencodingConfig

Place = Literal["device", "host"]
"""Memory of the device that computes, or of the computer around it; of a processor all is the latter."""


@dataclass(frozen=True, kw_only=True)
class Term:
    """Bytes for one purpose, held through a stage."""

    name: str
    num_bytes: int
    place: Place


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A part of a run; its terms are in memory together."""

    name: str
    terms: tuple[Term, ...]
    flops: float = 0.0
    """Floating-point operations of the whole stage."""
    read_bytes: int = 0
    """Weights that are read from disk for it, or brought to the device."""

    def memory(self, place: Place) -> int:
        """Bytes in use at its worst moment."""
        return sum(term.num_bytes for term in self.terms if term.place == place)


@dataclass(frozen=True, kw_only=True)
class DiskUse:
    """Bytes that are read or written."""

    name: str
    num_bytes: int
    kind: Literal["read", "written"]


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """All stages of a run, in order."""

    stages: tuple[Stage, ...]
    disk: tuple[DiskUse, ...] = ()
    notices: tuple[str, ...] = ()

    def peak(self, place: Place) -> Stage:
        """The stage that takes most of one kind of memory."""
        return max(self.stages, key=lambda stage: stage.memory(place))

    def memory(self, place: Place) -> int:
        return self.peak(place).memory(place)

    def on_disk(self, kind: Literal["read", "written"]) -> int:
        return sum(use.num_bytes for use in self.disk if use.kind == kind)


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Where a run is to take place, as far as its memory depends on it."""

    is_processor: bool
    program: int
    """Bytes of the computer's memory that the program takes before it loads a network."""
    context: int = 0
    """Bytes that the program takes of a GPU before it loads a network."""
    num_threads: int = 1

    @property
    def device(self) -> Place:
        """Where tensors of the device are counted."""
        return "host" if self.is_processor else "device"


@dataclass(frozen=True, kw_only=True)
class ClipShape:
    """Of a clip that is made, trained on or encoded."""

    height: int
    width: int
    num_frames: int
    batch_size: int = 1
    count: int = 1
    """How many there are."""


@dataclass(frozen=True, kw_only=True)
class GenerationWork:
    """What making one clip asks of the networks."""

    shape: ClipShape
    num_calls: int
    """Forward passes of the denoiser in all, those of one batch counted once for each of its items."""
    num_steps: int
    """Distinct timesteps of a run of the sampler."""
    branches: int
    """Prompts that one step looks at: 2 where there is guidance by a negative prompt."""
    is_one_batch: bool
    """Whether these are one batch where nothing else is said."""
    encoded_frames: int
    """Frames of pictures or clips that are encoded first."""


@dataclass(frozen=True, kw_only=True)
class EncoderSize:
    """A text or image encoder."""

    name: str
    num_parameters: int
    largest_layer: int
    """Parameters of what it holds in one piece when it is streamed: a layer, or the table of words."""
    activations: int
    """Numbers that it holds at once for one prompt or picture."""
    flops: float
    is_text: bool
    is_large: bool
    """Whether policies for text encoders are for this one."""


class SizedModel(Protocol):
    """A model of which no more than its sizes is known; networks are made by whoever imagines them."""

    @property
    def released_dtype(self) -> Literal["float32", "bfloat16", "float16"]: ...

    @property
    def encoding_dtype(self) -> Literal["float32", "bfloat16", "float16"]:
        """In which its autoencoder and encoders were released."""
        ...

    @property
    def depths(self) -> tuple[int, ...]:
        """Blocks of each stack of the denoiser."""
        ...

    @property
    def sees_pictures(self) -> bool:
        """Whether clips are encoded by an image encoder too."""
        ...

    @property
    def encoders(self) -> Sequence[EncoderSize]: ...

    def denoiser(self, depths: tuple[int, ...], /) -> nn.Module: ...

    def keeps_float32(self, name: str, /) -> bool:
        """Whether a parameter of the denoiser stays so whatever the others become."""
        ...

    def is_quantized(self, name: str, /) -> bool:
        """Whether a linear layer of the blocks may be held in few bits."""
        ...

    def ask(
        self, denoiser: nn.Module, shape: ClipShape, device: torch.device, dtype: torch.dtype, /
    ) -> Tensor:
        """One forward pass on tensors without values."""
        ...

    def targets(self, depths: tuple[int, ...], /) -> AdapterTargets:
        """What adapters can change in a denoiser of so many blocks."""
        ...

    def autoencoder(self) -> nn.Module: ...

    def decode(
        self, autoencoder: nn.Module, shape: ClipShape, execution: AutoencodingConfig, /
    ) -> Iterator[Tensor]:
        """The frames of so much of a clip that no later part takes more."""
        ...

    def encode(self, autoencoder: nn.Module, shape: ClipShape, execution: AutoencodingConfig, /) -> None:
        """Latents of so much of a clip that no later part takes more."""
        ...

    def share_decoded(self, shape: ClipShape, /) -> float:
        """Which share of the clip `decode` and `encode` look at, for the time of the whole."""
        ...

    def num_latent_values(self, shape: ClipShape, /) -> int:
        """Numbers in the latents of one clip."""
        ...

    def shape_of(self, shape: ClipShape, /) -> ClipShape:
        """With the model's own sizes for those that are 0, and legal ones for others."""
        ...


@dataclass(frozen=True, kw_only=True)
class Estimating:
    """How a family tells the sizes of its models, without files of weights. All raise UserError."""

    sized: Callable[[Any], SizedModel]
    """From the configuration of any command."""
    work: Callable[[Any, Any], GenerationWork]
    """From the configuration of `generate` and the model."""
