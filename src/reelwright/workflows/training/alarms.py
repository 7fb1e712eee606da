"""What looks wrong while training, said once with what to do about it."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from reelwright.core.events import Event, Notice
from reelwright.workflows.training.metrics import Metrics
from reelwright.workflows.training.setting import Moment, Setting, StepResult

_WARM_UP = 20
"""Steps before an average says much, and before an adapter must have learned something."""
_ROUNDING = 1e-7
"""A change of the weights that is smaller, relative to them, is lost when float32 numbers are added."""
_IN_A_ROW = 5
"""Steps without any gradient before it is no accident."""
_SKIPPED_IN_A_ROW = 10
"""Steps that fp16 training may skip while it looks for a factor that keeps gradients in range."""


class Alarms:
    """Watches the loss, the gradients and what is learned; comes after the metrics, to which it adds lines.

    An alarm is a Notice and a line {"step", "alarm", "message"}; it comes again only if all was well between.
    """

    def __init__(self, setting: Setting, metrics: Metrics) -> None:
        self._setting = setting
        self._metrics = metrics
        self._factor = setting.config.tracking.alarm_factor
        self._raised: set[str] = set()
        self._lowest = math.inf
        self._num_steps = 0
        self._num_without_gradient = 0
        self._num_not_finite = 0

    def __call__(self, moment: Moment) -> Iterator[Event]:
        if moment.result is None:
            return
        self._count(moment.result)
        for name, message in self._messages(moment.result).items():
            if not message:
                self._raised.discard(name)
            elif name not in self._raised:
                self._raised.add(name)
                self._metrics.write({"step": moment.step, "alarm": name, "message": message})
                yield Notice(f"step {moment.step}: {message}")

    def state(self) -> dict[str, Any]:
        return {
            "raised": sorted(self._raised),
            "lowest": None if math.isinf(self._lowest) else self._lowest,
            "num_steps": self._num_steps,
            "num_without_gradient": self._num_without_gradient,
            "num_not_finite": self._num_not_finite,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self._raised = set(state["raised"])
        self._lowest = math.inf if state["lowest"] is None else state["lowest"]
        self._num_steps = state["num_steps"]
        self._num_without_gradient = state["num_without_gradient"]
        self._num_not_finite = state["num_not_finite"]

    def _count(self, result: StepResult) -> None:
        # With a rate of 0, as a warm-up begins, nothing can be learned.
        self._num_steps += any(rate > 0 for rate in result.rates.values())
        self._num_without_gradient = self._num_without_gradient + 1 if result.gradient_norm == 0 else 0
        is_finite = math.isfinite(result.gradient_norm)
        self._num_not_finite = 0 if is_finite else self._num_not_finite + 1

    def _messages(self, result: StepResult) -> dict[str, str]:
        """What is to be said of each alarm, nothing where all is well."""
        return {
            "gradients not finite": self._gradients_not_finite(),
            "no gradients": self._no_gradients(),
            "nothing learned": self._nothing_learned(),
            "divergence": self._divergence(result),
        }

    def _divergence(self, result: StepResult) -> str:
        smoothed = self._metrics.smoothed_loss
        if self._factor == 0 or self._num_steps < _WARM_UP or math.isnan(smoothed):
            return ""
        self._lowest = min(self._lowest, smoothed)
        # Once raised, it takes more than a touch below the line to be well again.
        limit = math.sqrt(self._factor) if "divergence" in self._raised else self._factor
        if smoothed <= limit * self._lowest:
            return ""
        rate = max(result.rates.values(), default=math.nan)
        return (
            f"the loss is {smoothed:.3g} on average, {smoothed / self._lowest:.1f} times its lowest"
            f" ({self._lowest:.3g}): it may be diverging. Lower optimizer.learning_rate (now {rate:.2g})"
            " or lengthen schedule.warmup, and start anew, or go on from an earlier state with --state."
        )

    def _nothing_learned(self) -> str:
        change = self._metrics.change
        if self._num_steps < _WARM_UP or math.isnan(change) or change > _ROUNDING:
            return ""
        said = (
            "nothing" if change == 0 else f"only {change:.1g} of the weights, less than rounding takes away"
        )
        return (
            f"{said} was learned in {self._num_steps} steps. Raise optimizer.learning_rate; if that does not"
            " help, see which modules adapter.targets, include and exclude leave to learn."
        )

    def _no_gradients(self) -> str:
        if self._num_without_gradient < _IN_A_ROW:
            return ""
        return (
            f"all gradients were 0 for {self._num_without_gradient} steps: the loss does not depend on what"
            " learns. See which modules adapter.targets, include and exclude leave to learn, and that"
            " adapter.dropout, rank_dropout and module_dropout are below 1."
        )

    def _gradients_not_finite(self) -> str:
        is_fp16 = self._setting.accelerator.scaler is not None
        if self._num_not_finite < (_SKIPPED_IN_A_ROW if is_fp16 else 1):
            return ""
        advice = "Use --execution.mixed-precision bf16 or no" if is_fp16 else "Lower optimizer.learning_rate"
        return (
            f"the norm of the gradients is no finite number for {self._num_not_finite} step(s); such steps"
            f" teach nothing. {advice}, and look for damaged caches with reelwright cache verify."
        )
