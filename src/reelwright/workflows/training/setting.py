"""What the parts of a training run share, and where the run stands."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from accelerate import Accelerator
from torch import nn

from reelwright.core.events import Event
from reelwright.protocols.family import Family
from reelwright.protocols.train_configs import LearningConfig, TrainConfig
from reelwright.protocols.training import Objective, Task, Trainables, TrainingModel


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """What a step came to, over all processes."""

    loss: float
    num_items: int
    level_losses: tuple[float, ...]
    """Sums of the items' errors, unweighted, by noise level in equal bins from 0 to 1."""
    level_counts: tuple[int, ...]
    """Items in each bin."""
    gradient_norm: float
    rates: Mapping[str, float]
    """Group of parameters -> its learning rate in this step."""
    seconds: float
    peak_memory: int
    parts: Mapping[str, float] = field(default_factory=dict[str, float])
    """What else the task tells, as means over the items."""
    padding_waste: float | None = None
    """The share of the batches' room that stayed empty, where they are packs."""


@dataclass(frozen=True, kw_only=True)
class Moment:
    """Where training stands: between two steps."""

    step: int
    """Steps done; 0 before the first."""
    num_steps: int
    epoch: int
    """Epochs done."""
    num_epochs: int
    epoch_ended: bool
    """Whether the last step was the last of its epoch."""
    result: StepResult | None = None
    """Of the last step; None before the first one of this process."""

    @property
    def is_last(self) -> bool:
        return self.step >= self.num_steps


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Everything that is in use during one run. All processes have one; only the main one writes files."""

    config: LearningConfig
    folder: Path
    accelerator: Accelerator
    network: nn.Module
    """As it is called in training: prepared by Accelerate."""
    trainables: Trainables
    task: Task
    shown: Callable[[], AbstractContextManager[None]]
    """The weights that validation, samples and saved files show: within it the network has them."""
    num_sharing: int = 1
    """How many processes have the same batches."""

    @property
    def is_main(self) -> bool:
        return self.accelerator.is_main_process


@dataclass(frozen=True, kw_only=True)
class DenoiserSetting(Setting):
    """That of a run that trains a denoiser."""

    config: TrainConfig
    family: Family
    model: TrainingModel
    objective: Objective
    facts: Mapping[str, Any]
    """Of the data: num_items, num_batches, num_epochs, datasets (what is told of each)."""

    @property
    def denoiser(self) -> nn.Module:
        return self.network


class Part(Protocol):
    """Something that happens between steps: validation, samples, saving, alarms."""

    def __call__(self, moment: Moment, /) -> Iterator[Event]:
        """Called before the first step and after each step, on all processes.

        When a run goes on it may be called for the step that it stands after, without a result.
        """
        ...

    def state(self) -> dict[str, Any]:
        """What must be known to go on later, as JSON can hold it."""
        ...

    def restore(self, state: Mapping[str, Any], /) -> None: ...


def is_due(moment: Moment, every_steps: int, every_epochs: int) -> bool:
    """Whether something that comes every so many steps or epochs comes now."""
    by_step = every_steps > 0 and moment.step > 0 and moment.step % every_steps == 0
    by_epoch = every_epochs > 0 and moment.epoch_ended and moment.epoch % every_epochs == 0
    return by_step or by_epoch
