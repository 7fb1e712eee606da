"""All that the program knows of a model family."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from torch import Tensor

from reelwright.core.events import Event
from reelwright.protocols.adapter_targets import ReleasedTargets
from reelwright.protocols.caching import Caching
from reelwright.protocols.configs import ExecutionConfig, GenerateConfig
from reelwright.protocols.model_part import ModelPart

if TYPE_CHECKING:
    from reelwright.protocols.autoencoder_training import AutoencoderTraining
    from reelwright.protocols.encoder_training import EncoderTraining
    from reelwright.protocols.estimates import Estimating
    from reelwright.protocols.training import Training


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

    @property
    def fps(self) -> float:
        """Frames per second of its clips, unless another rate is asked for."""
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


Lessen = Callable[[], str]
"""Have the next try need less memory: what is done, in words; "" where nothing can be."""


def _no_less() -> str:
    return ""


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of a clip whose latents are final long before the clip is."""

    key: str
    """Tells these latents from all others: made of everything that decides them."""
    index: int
    """Its place in time among the clip's sections."""
    total: int
    latents_BCTHW: Tensor
    facts: Mapping[str, Any]
    """What people want to know of it, as JSON can hold it: prompt, seed, frames."""
    fps: float
    decode: Callable[[], Iterator[Tensor]] | None = None
    """Yields chunks of its frames alone, uint8 chunk_FHWC, for a look at it; None where nobody wants one."""
    shortcuts: tuple[str, ...] = ()
    """What was left out or rounded in making it; empty for one that was found."""

    lessen: Lessen = _no_less
    """As that of a Segment."""


FindSection = Callable[[str], Tensor | None]
"""Key -> the latents of a section that was made before, if it was kept."""


@dataclass(frozen=True, kw_only=True)
class Segment:
    """Latents that are final, and how to see them."""

    latents_BCTHW: Tensor
    num_frames: int
    """How many frames `decode` yields in all."""
    fps: float
    decode: Callable[[], Iterator[Tensor]]
    """Yields chunks of frames, uint8 chunk_FHWC."""
    lessen: Lessen = _no_less
    """Memory ran out in `decode`, which from now on needs less."""
    unasked: Callable[[], tuple[str, ...]] = tuple
    """What `decode` approximates since memory ran out, though nobody asked for it; in words."""
    flaw: str = ""
    """Why the latents are not worth decoding; they are kept all the same."""
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    """What other programs look for in a file of latents."""
    shortcuts: tuple[str, ...] = ()
    """What was left out or rounded in making them, in words."""


@dataclass(frozen=True, kw_only=True)
class Preview:
    """A rough picture of the clip after a step: uint8 [H, W, 3]."""

    image_HWC: Tensor
    step: int


Made = Event | Preview | Section | Segment


class Session(Protocol):
    """A model in use: networks are loaded when they are first needed, and stay."""

    @property
    def latent_scale(self) -> float:
        """What latents are multiplied by between the autoencoder and the denoiser."""
        ...

    def generate(self, requests: Sequence[Any], find_section: FindSection, /) -> Iterator[Made]:
        """Make the clips in order; a Segment ends each clip."""
        ...

    def open_latents(self, latents_BCTHW: Tensor, config: Any, /) -> Segment:  # noqa: ANN401
        """See latents that were saved before. Raises FileError if they are of another kind of model."""
        ...

    def write_merged(self, path: Path, /) -> Iterator[Event]:
        """Write the denoiser with its LoRAs merged: a FileSaved for each file."""
        ...


@dataclass(frozen=True, kw_only=True)
class Family:
    """Values and functions, which take the family's own kinds of Model and Request; nothing else."""

    name: str
    locate: Callable[[Any], Model]
    """Find and check the checkpoint that a configuration names. Raises UserError."""
    resolve: Callable[[Any, Any], Request]
    """Decide what a configuration leaves open and read its inputs. Raises UserError with all problems."""
    start: Callable[[Any, ExecutionConfig], Session]
    """Take a model into use."""
    inputs: Callable[[Any], dict[str, Path]]
    """The input files that a configuration names, by field; of several in one field, "field 1" and so on."""
    parts: tuple[ModelPart, ...] = ()
    """How the parts of its models are told from other files and checked, by the names in its variants."""
    adapter_targets: ReleasedTargets = lambda: ()
    """What LoRAs can change in the denoisers of the family, one for each released size."""
    caching: Caching | None = None
    """How data sets become caches; None for families that are not trained here."""
    training: "Training | None" = None
    """How its denoisers are trained; None for families that are not trained here."""
    autoencoder_training: "AutoencoderTraining | None" = None
    """How its autoencoder is trained; None for families whose autoencoder is not."""
    encoder_training: "EncoderTraining | None" = None
    """How its text encoders are trained; None where they are not trained here."""
    estimating: "Estimating | None" = None
    """How sizes of its models are told, for plans; None for families that cannot be planned."""
    redo: Callable[[Any, int, str | None, int], Any] | None = None
    """(resolved configuration, section, prompt or None, seed or -1 for the noise of the run) -> the
    configuration that makes the clip again from that section on; None for families without sections."""


def named_files(config: GenerateConfig, names: Sequence[str]) -> dict[str, Path]:
    """The files that fields of a configuration name, each a path or several."""
    files: dict[str, Path] = {}
    for name in names:
        match getattr(config, name):
            case Path() as path:
                files[name] = path
            case tuple() as paths:
                files |= {f"{name} {number}": path for number, path in enumerate(paths, start=1)}
            case _:
                pass
    return files
