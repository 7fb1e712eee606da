"""What training measures, in words and in lines that do not flood a log."""

from reelwright.core.events import Measured

TRAINING = "train"
"""The stage whose steps are told of with what was measured."""
_LINES = 50
"""Steps are told of so many times in a run."""


def is_step(event: Measured) -> bool:
    """Whether it is about a step, of which there are many, rather than a validation."""
    return "loss" in event.values


def loss_text(event: Measured) -> str:
    """The loss as it goes, without the ups and downs of single steps where that is known."""
    return f"loss {event.values.get('smoothed_loss', event.values['loss']):.4f}"


def all_values_text(event: Measured) -> str:
    """The step and all numbers, for what is measured seldom."""
    values = (f"{name} {value:.4g}" for name, value in event.values.items())
    return f"step {event.step}/{event.total}: {', '.join(values)}"


class StepLines:
    """A line for at most each fiftieth of the steps of training."""

    def __init__(self) -> None:
        self._part = 0
        self._num_steps = 0
        self._elapsed = 0.0

    def __call__(self, event: Measured) -> str | None:
        """The line with loss, pace and time left, or None where it is not due."""
        self._num_steps += 1
        self._elapsed += event.values.get("seconds", 0.0)
        part = _LINES * event.step // event.total
        if part <= self._part:
            return None
        self._part = part
        pace = self._elapsed / self._num_steps
        left = pace * (event.total - event.step)
        return f"train: {event.step}/{event.total}, {loss_text(event)}, {pace:.2f} s/step, {left:.0f} s left"
