"""What every run needs once its network is loaded: optimizer, schedule, average, and the trainer itself."""

from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial

import torch
from accelerate import Accelerator
from torch import nn
from torch.optim.lr_scheduler import LRScheduler

from reelwright.protocols.train_configs import LearningConfig
from reelwright.protocols.training import Trainables
from reelwright.workflows.training.alarms import Alarms
from reelwright.workflows.training.disk_space import check_room
from reelwright.workflows.training.ema import Averages
from reelwright.workflows.training.keeper import Keeper
from reelwright.workflows.training.lr_schedules import make_schedule
from reelwright.workflows.training.metrics import Metrics
from reelwright.workflows.training.model_files import ModelFiles
from reelwright.workflows.training.optimizers import make_optimizer, optimizer_modes, settle
from reelwright.workflows.training.processes import prepare_learning
from reelwright.workflows.training.setting import Part, Setting
from reelwright.workflows.training.states import TrainingState
from reelwright.workflows.training.step import Stepper
from reelwright.workflows.training.trainer import Course, Trainer


@dataclass(frozen=True, kw_only=True)
class Learning:
    """What changes a network."""

    called: nn.Module
    """The network as it is called in training: prepared by Accelerate."""
    optimizer: torch.optim.Optimizer
    schedule: LRScheduler | None
    averages: Averages | None
    shown: Callable[[], AbstractContextManager[None]]
    """As `Setting.shown`."""


def begin_learning(
    config: LearningConfig,
    accelerator: Accelerator,
    network: nn.Module,
    trainables: Trainables,
    course: Course,
) -> Learning:
    """Make what changes `trainables` in the network. Raises ConfigError."""
    optimizer = make_optimizer(config.optimizer, trainables.groups())
    called, optimizer = prepare_learning(accelerator, network, optimizer)
    averages = Averages(config.ema, trainables.tensors) if config.ema.decay else None
    return Learning(
        called=called,
        optimizer=optimizer,
        schedule=make_schedule(config.schedule, optimizer, course.length, config.optimizer),
        averages=averages,
        shown=partial(_shown, optimizer, averages if config.ema.sample else None),
    )


def begin_stage(
    learning: Learning, config: LearningConfig, trainables: Trainables, course: Course, *, forgets: bool
) -> Learning:
    """The same optimizer with the rates and the schedule of another stage; it may forget what was before."""
    optimizer, fresh = learning.optimizer, make_optimizer(config.optimizer, trainables.groups())
    if forgets:
        settle(optimizer)
        optimizer.load_state_dict(fresh.state_dict())
    for group, begun in zip(optimizer.param_groups, fresh.param_groups, strict=True):
        group.pop("initial_lr", None)
        if "lr" in begun:
            group["lr"] = begun["lr"]
    return replace(
        learning, schedule=make_schedule(config.schedule, optimizer, course.length, config.optimizer)
    )


def make_trainer(
    setting: Setting,
    learning: Learning,
    course: Course,
    metrics: Metrics,
    parts: Mapping[str, Part],
    state: TrainingState | None,
) -> Trainer:
    """A trainer at its start, or at a state; `parts` come after each step. Raises UserError."""
    optimizer, schedule, averages = learning.optimizer, learning.schedule, learning.averages
    check_room(setting, optimizer, has_averages=averages is not None)
    keeper = Keeper(setting=setting, optimizer=optimizer, schedule=schedule, averages=averages)
    trainer = Trainer(
        setting,
        Stepper(setting=setting, optimizer=optimizer, schedule=schedule),
        course,
        keeper,
        measures={"metrics": metrics, "alarms": Alarms(setting, metrics)},
        parts=parts,
        files=ModelFiles(setting, averages, partial(optimizer_modes, optimizer)),
    )
    if state is not None:
        keeper.restore(state)
        trainer.restore(state.progress)
    learning.called.train()
    return trainer


@contextmanager
def _shown(optimizer: torch.optim.Optimizer, averages: Averages | None) -> Generator[None]:
    """The weights that are meant to be used: those of the average, or of a schedule-free optimizer."""
    with ExitStack() as entered:
        contexts: list[AbstractContextManager[None]] = [optimizer_modes(optimizer)]
        if averages is not None:
            contexts.append(averages.shown())
        for context in contexts:
            entered.enter_context(context)
        yield
