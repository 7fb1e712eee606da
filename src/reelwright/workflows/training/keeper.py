"""All that a run has learned, as one state: gathered from the processes, written, and put back."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from reelwright.workflows.training.ema import Averages
from reelwright.workflows.training.gathering import gathered
from reelwright.workflows.training.processes import load_optimizer_state, optimizer_state
from reelwright.workflows.training.setting import Setting
from reelwright.workflows.training.states import TrainingState, write_state


@dataclass(frozen=True, kw_only=True)
class Keeper:
    """Whatever changes while training goes on, beside the data's position and what parts remember."""

    setting: Setting
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler | None
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
            progress=progress,
            weights=gathered(setting.trainables.tensors()),
            optimizer=optimizer_state(self.optimizer),
            schedule=None if self.schedule is None else self.schedule.state_dict(),
            averages={} if self.averages is None else gathered(self.averages.tensors()),
        )
        if not setting.is_main:
            return ""
        return str(write_state(setting.folder, state, keep=setting.config.saving.keep_states))

    def restore(self, state: TrainingState) -> None:
        """Put everything back. Raises UserError where it does not fit what is trained now."""
        setting = self.setting
        setting.trainables.load(state.weights)
        load_optimizer_state(self.optimizer, state.optimizer)
        if self.schedule is not None and state.schedule is not None:
            self.schedule.load_state_dict(state.schedule)
        if self.averages is not None and state.averages:
            self.averages.load(state.averages)
