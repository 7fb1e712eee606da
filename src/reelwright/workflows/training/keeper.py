"""All that a run has learned, as one state: gathered from the processes, written, and put back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from reelwright.core.errors import ConfigError
from reelwright.workflows.training.ema import Averages
from reelwright.workflows.training.gathering import gathered
from reelwright.workflows.training.processes import load_optimizer_state, optimizer_state
from reelwright.workflows.training.setting import Setting
from reelwright.workflows.training.states import TrainingState, write_state

_OPTIMIZER, _SCALER = "optimizer", "scaler"
"""Within a state's progress: what the optimizer is, and the factor of gradients in fp16."""


@dataclass(frozen=True, kw_only=True)
class Keeper:
    """Whatever changes while training goes on, beside the data's position and what parts remember."""

    setting: Setting
    optimizer: torch.optim.Optimizer
    schedule: LRScheduler | None
    averages: Averages | None

    def average(self, step: int) -> None:
        """Take the weights after a step into the average."""
        if self.averages is not None:
            self.averages.update(step)

    def write(self, progress: Mapping[str, Any]) -> str:
        """Write a state; all processes take part. Its folder on the main process, empty elsewhere.

        Raises FileError where the disk refuses; states that were there before stay.
        """
        setting = self.setting
        state = TrainingState(
            progress={**progress, _OPTIMIZER: self._described(), _SCALER: self._scaler_state()},
            weights=gathered(setting.trainables.tensors()),
            optimizer=optimizer_state(self.optimizer),
            schedule=None if self.schedule is None else self.schedule.state_dict(),
            averages={} if self.averages is None else gathered(self.averages.tensors()),
        )
        if not setting.is_main:
            return ""
        return str(write_state(setting.folder, state, keep=setting.config.saving.keep_states))

    def restore(self, state: TrainingState) -> None:
        """Put everything back. Raises UserError where it does not fit what is trained now.

        Learning rate and schedule may have been changed; an average that was not kept begins here.
        """
        _check_same(state.progress[_OPTIMIZER], self._described())
        self.setting.trainables.load(state.weights)
        rates: list[Any] = [group.get("initial_lr", group.get("lr")) for group in self.optimizer.param_groups]
        load_optimizer_state(self.optimizer, state.optimizer)
        if self.schedule is not None and state.schedule is not None:
            self.schedule.load_state_dict(state.schedule)
        self._set_rates(rates)
        if self.averages is not None:
            self.averages.load(state.averages or state.weights)
        scaler = self.setting.accelerator.scaler
        if scaler is not None and state.progress[_SCALER]:
            scaler.load_state_dict(state.progress[_SCALER])

    def _scaler_state(self) -> dict[str, Any]:
        """The factor that keeps gradients of fp16 in range, and how long it has held; empty without."""
        scaler = self.setting.accelerator.scaler
        return {} if scaler is None else scaler.state_dict()

    def _described(self) -> dict[str, Any]:
        """By the names of the settings that say it."""
        config = self.setting.config
        bare = getattr(self.optimizer, "optimizer", self.optimizer)
        described = {
            "optimizer.name": type(bare).__name__,
            "optimizer.arguments": " ".join(config.optimizer.arguments),
            "schedule.path": config.schedule.path,
        }
        if not config.schedule.path:
            return described
        # Such classes remember rates of their own.
        return {
            **described,
            "schedule.arguments": " ".join(config.schedule.arguments),
            "optimizer.learning_rate": config.optimizer.learning_rate,
        }

    def _set_rates(self, rates: Sequence[Any]) -> None:
        """What they are now by the configuration, rather than what a state says; the same if none changed."""
        groups, schedule = self.optimizer.param_groups, self.schedule
        if schedule is None:
            for group, rate in zip(groups, rates, strict=True):
                if "lr" in group:
                    group["lr"] = rate
        elif isinstance(schedule, LambdaLR):
            schedule.base_lrs = list(rates)
            for group, rate, course in zip(groups, rates, schedule.lr_lambdas, strict=True):
                group.update(initial_lr=rate, lr=rate * course(schedule.last_epoch))


def _check_same(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise ConfigError where what a state remembers would mean something else now."""
    problems = [
        f"{name}: the state is of a training with {said or 'none'}, this one has {now.get(name) or 'none'}."
        for name, said in before.items()
        if said != now.get(name, said)
    ]
    if problems:
        raise ConfigError(
            "\n".join(problems)
            + "\nSet it back; or start from the weights alone: adapter.weights, or dit for whole models."
        )
