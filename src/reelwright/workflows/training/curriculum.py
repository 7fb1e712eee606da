"""A run in stages: trainers one after the other, each from where the one before it stopped."""

from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from typing import Any

from reelwright.core.events import Event, Notice
from reelwright.workflows.training.setting import Moment
from reelwright.workflows.training.stages import StagePlan
from reelwright.workflows.training.trainer import Trainer

_FORGOTTEN = ("alarms",)
"""Parts that compare with what was before, which says nothing of other data."""


class Curriculum:
    """Goes through the stages from one of them on."""

    def __init__(
        self,
        plans: tuple[StagePlan, ...],
        number: int,
        trainer: Trainer,
        arrange: Callable[[int], Trainer],
    ) -> None:
        """`trainer` is that of stage `number`, wherever it stands in it; `arrange` gives one at its start."""
        self._plans = plans
        self._number = number
        self._trainer = trainer
        self._arrange = arrange

    @property
    def moment(self) -> Moment:
        return self._trainer.moment

    def run(self) -> Generator[Event]:
        """Train to the end of the last stage, unless the run is stopped before."""
        while True:
            yield Notice(self._told())
            with closing(self._trainer.run()) as events:
                yield from events
            if not self._trainer.has_ended or self._number + 1 == len(self._plans):
                return
            progress = self._trainer.progress()
            self._number += 1
            self._trainer = self._arrange(self._number)
            self._trainer.restore({**progress, "parts": _kept(progress["parts"])})

    def _told(self) -> str:
        plan, moment = self._plans[self._number], self._trainer.moment
        first = max(moment.step, plan.first) + 1
        what = f"steps {first} to {plan.last}" if first <= plan.last else "all its steps are done"
        return (
            f"stage {plan.name} ({self._number + 1} of {len(self._plans)}): {what} of {moment.num_steps},"
            f" with a learning rate of {plan.config.optimizer.learning_rate:g}."
        )


def _kept(parts: Mapping[str, Any]) -> dict[str, Any]:
    return {name: state for name, state in parts.items() if name not in _FORGOTTEN}
