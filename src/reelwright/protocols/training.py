"""What a family brings to be trained, and what the trainer asks of whatever learns."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from reelwright.checkpoint.key_map import KeyMap
from reelwright.core.events import Event
from reelwright.protocols.adapter_targets import AdapterTargets
from reelwright.protocols.cache_configs import CacheLatentsConfig, CacheTextConfig
from reelwright.protocols.configs import GenerateConfig
from reelwright.protocols.datasets import DatasetConfig
from reelwright.protocols.family import Model, Session


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Items that are trained on together."""

    epoch: int
    number: int
    """Its place among the batches that this rank takes in the epoch, from 0."""
    names: tuple[str, ...]
    """Of the items, for messages."""
    group: str
    tensors: dict[str, Tensor]
    """By name, stacked over the batch."""
    lists: dict[str, list[Tensor]]
    """By name, those that may differ in shape."""
    seeds: tuple[int, ...]
    """Where each item's random numbers start: they follow from the run's seed, the epoch and the item alone,
    so that they are the same in any batch and on any rank. 63 bits."""
    places: tuple[int, ...]
    """Of each item among all of the epoch, from 0."""
    num_places: int
    """Items of the epoch, of all ranks together."""
    seed: int = 0
    """Of the run."""
    parts: tuple["Batch", ...] = ()
    """Of a pack, its items as batches of one, which may differ in size; its own `tensors` are none then."""
    fill: float = 1.0
    """Of a pack, the share of its tokens that items take."""


@dataclass(frozen=True, kw_only=True)
class Example:
    """What the denoiser is asked about a batch, on its device, and what it should answer.

    Of a pack, latents, conditions and targets are lists, with a batch of one for each item.
    """

    noisy_BCTHW: Tensor | list[Tensor]
    timestep_B: Tensor
    conditions: Any
    """The family's own dataclass, as `Denoiser` takes it."""
    target_BCTHW: Tensor | list[Tensor]
    """float32."""
    weight_B: Tensor
    """float32: what the mean squared error of each item counts."""
    level_B: Tensor
    """float32 noise levels from 0, clean, to 1: for statistics."""


class Objective(Protocol):
    """How batches become questions."""

    def example(self, batch: Batch, levels_B: Tensor | None = None, /) -> Example:
        """Noise a batch. Whatever is drawn follows from the seeds of the items.

        `levels_B`: noise levels from 0 to 1 instead of drawn ones; nothing is then dropped or weighted.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Losses:
    """What a batch comes to."""

    total: Tensor
    """Summed over the items, with gradients."""
    level_B: Tensor | None = None
    """Noise levels from 0, clean, to 1, of tasks that have such."""
    errors_B: Tensor | None = None
    """Errors of the items, unweighted, to be told by noise level."""
    parts: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])
    """What else is told of it, each a number summed over the items; any batch of a step has the same."""


class Batches(Protocol):
    """The batches of a run in order, read ahead; it can be left and gone on with anywhere between two."""

    def __len__(self) -> int:
        """Batches of an epoch."""
        ...

    @property
    def epoch(self) -> int:
        """Epochs done."""
        ...

    def __iter__(self) -> Iterator[Batch]:
        """A generator of the rest of an epoch; iterating again gives the next."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Where the data stands, as JSON can hold it."""
        ...


class Task(Protocol):
    """How batches teach a network."""

    def losses(self, network: nn.Module, batch: Batch, number: int, /) -> Losses:
        """Of step `number`, from 1. Whatever is drawn follows from the seeds of the items."""
        ...


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """What the caches of a run hold."""

    latents: CacheLatentsConfig
    """The family's configuration that the latents were made with."""
    texts: CacheTextConfig
    datasets: tuple[DatasetConfig, ...]


class TrainingModel(Protocol):
    """A checkpoint to train, found and checked, with nothing loaded."""

    @property
    def fingerprints(self) -> Mapping[str, str]:
        """Part of the model -> short name of its files' content."""
        ...

    @property
    def notices(self) -> Sequence[str]:
        """What a user should know."""
        ...

    @property
    def released_dtype(self) -> Literal["float32", "bfloat16", "float16"]: ...

    @property
    def targets(self) -> AdapterTargets:
        """What adapters can change in the denoiser."""
        ...

    @property
    def key_map(self) -> KeyMap:
        """The released names of the denoiser's tensors."""
        ...

    @property
    def settings(self) -> Mapping[str, Any]:
        """What stands in the config.json beside a saved denoiser."""
        ...

    @property
    def metadata(self) -> Mapping[str, str]:
        """What files of adapters say of the model and the way it was trained, for programs that load them."""
        ...

    @property
    def adapter_layout(self) -> Literal["native", "diffusers", "peft"]:
        """The names that users of this model expect in files of adapters."""
        ...

    def load(self, device: torch.device, dtype: torch.dtype, /, *, seed: int = 0) -> nn.Module:
        """The denoiser. `seed` is that of weights which are drawn."""
        ...

    def objective(self, device: torch.device, dtype: torch.dtype, /) -> Objective:
        """`dtype` is that of the denoiser's inputs. Loads no more than the objective needs."""
        ...


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How clips are made with a denoiser that is being trained."""

    config: Callable[[Any, Any], GenerateConfig]
    """(configuration of `train`, what `Training.locate` gave) -> the family's configuration of `generate`
    before a prompt says more: model, parts, sizes, seed, and what the caches tell of how clips are made."""
    start: Callable[[Any, Any, nn.Module], Session]
    """(located by `Family.locate`, configuration of `train`, the denoiser) -> a session that uses this
    denoiser, as it is."""
    encode: Callable[[Any, Any, Sequence[Any]], None]
    """Encode the texts and pictures of requests, so that a session finds them done: before the denoiser is
    there."""
    locate: Callable[[Any, Any], Model]
    """(configuration of `generate`, what `Training.locate` gave) -> the model that makes clips with this
    denoiser, whose own files need not be there."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """A family's functions for training."""

    locate: Callable[[Any, TrainingData], TrainingModel]
    """From the family's configuration of `train` and what the caches hold. Raises UserError."""
    caches: Callable[[Any, Any, Any], tuple[CacheLatentsConfig, CacheTextConfig]]
    """(configuration of `train`, those that caches were made with) -> those that would make them of the model
    that is trained, to compare."""
    sampling: Sampling
    num_tokens: Callable[[Any, Mapping[str, Tensor]], int]
    """(what `locate` gave, tensors of an item) -> the most tokens that the denoiser makes of it."""
    kind: Callable[[TrainingData], Mapping[str, str]] = lambda _: {}
    """What these data teach, by the name of each setting: held-out data must be of the same kind."""
    at_positions: Callable[[Any, Literal["extrapolated", "interpolated"]], Any] | None = None
    """(configuration of `train`, how tokens are counted at sizes other than the model's own) -> one that says
    so; None for families whose models know one way. Raises ConfigError."""
    quantized: Callable[[str], bool] = lambda _: True
    """Whether a linear layer inside the blocks, by its name in the denoiser, may be held in fp8."""


@dataclass(frozen=True, kw_only=True)
class ParameterGroup:
    """Parameters that learn alike."""

    name: str
    parameters: Mapping[str, nn.Parameter]
    """By their name in `Trainables.tensors`."""
    rate_factor: float = 1.0
    """Times the learning rate."""
    edges: frozenset[str] = frozenset()
    """Names of those that bring something in or out of the network, for optimizers that treat them apart."""
    is_opponent: bool = False
    """Learns against the others, as a discriminator: its gradients are limited by themselves."""


class Trainables(Protocol):
    """What learns in a denoiser, and how it becomes a file."""

    def groups(self) -> Sequence[ParameterGroup]:
        """The parameters as they stand now in the denoiser."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """What resuming needs, by name: the parameters, live."""
        ...

    def load(self, tensors: Mapping[str, Tensor], /) -> None:
        """Put values into the parameters. Raises CheckpointError for names or shapes that are not theirs."""
        ...

    def save(
        self, place: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str], /
    ) -> Iterator[Event]:
        """Write values of `tensors()` to `place`, a path without suffix; a FileSaved for each file."""
        ...

    def untrained(self) -> AbstractContextManager[bool]:
        """Within, the denoiser answers as before training; false where it cannot."""
        ...

    def after_step(self) -> None:
        """Called after each step of the optimizer, for limits on what was learned."""
        ...

    def change(self) -> float:
        """The norm of what was learned over that of the weights it changes; NaN where nobody knows."""
        ...
