"""The loss on clips that are not trained on: the same clips, noise and noise levels each time."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from reelwright.core.events import Event, StageStarted
from reelwright.protocols.training import Batch
from reelwright.workflows.training.denoising import errors_of
from reelwright.workflows.training.metrics import Metrics
from reelwright.workflows.training.setting import DenoiserSetting, Moment
from reelwright.workflows.training.showing import as_shown, is_shown_now


class Validation:
    """Judges each item at each noise level; the mean of the unweighted errors is the validation loss.

    It is the same whatever the batch size and however many processes share the items.
    """

    def __init__(
        self, setting: DenoiserSetting, metrics: Metrics, open_batches: Callable[[], Iterable[Batch]]
    ) -> None:
        """`open_batches` gives this process's share of epoch 0 of the held-out items, anew each time."""
        self._setting = setting
        self._config = setting.config.validation
        self._metrics = metrics
        self._open_batches = open_batches
        self._last_step = -1

    def __call__(self, moment: Moment) -> Iterator[Event]:
        if moment.step == self._last_step or not is_shown_now(moment, self._config):
            return
        yield StageStarted("validate")
        with as_shown(self._setting):
            loss_L = self._measure()
        self._last_step = moment.step
        levels = [f"{level:.4g}" for level in self._config.levels]
        by_level = dict(zip(levels, loss_L.tolist(), strict=True))
        loss = float(loss_L.mean())
        self._metrics.write({"step": moment.step, "validation_loss": loss, "validation_levels": by_level})
        named = {f"validation_loss/{level}": each for level, each in by_level.items()}
        yield self._metrics.tell(moment, {"validation_loss": loss, **named})

    def state(self) -> dict[str, Any]:
        return {"last_step": self._last_step}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._last_step = state["last_step"]

    def _measure(self) -> Tensor:
        """The mean error at each level, float64 [L]."""
        errors_PL = torch.zeros(0, len(self._config.levels), dtype=torch.float64)
        times_P = torch.zeros(0, dtype=torch.float64)
        for batch in self._open_batches():
            if len(times_P) == 0:
                num_places = min(batch.num_places, self._config.num_items or batch.num_places)
                errors_PL = errors_PL.new_zeros(num_places, len(self._config.levels))
                times_P = times_P.new_zeros(num_places)
            wanted = [index for index, place in enumerate(batch.places) if place < len(times_P)]
            if not self._is_wanted_anywhere(wanted):
                break
            places = [batch.places[index] for index in wanted]
            errors_PL[places] += self._errors(batch)[wanted]
            times_P[places] += 1
        # Where items do not come out even, some are judged by two processes.
        return (self._summed(errors_PL) / self._summed(times_P)[:, None]).mean(0)

    def _errors(self, batch: Batch) -> Tensor:
        """Of each item at each level, float64 [B, L]."""
        errors: list[Tensor] = []
        for level in self._config.levels:
            example = self._setting.objective.example(batch, torch.full((len(batch.names),), level))
            errors.append(errors_of(self._setting.denoiser, example).double().cpu())
        return torch.stack(errors, dim=1)

    def _is_wanted_anywhere(self, wanted: list[int]) -> bool:
        """Whether any process has items to judge: those that share a model must call it equally often."""
        return bool(self._summed(torch.tensor([float(len(wanted))]))[0])

    def _summed(self, values: Tensor) -> Tensor:
        accelerator = self._setting.accelerator
        summed = accelerator.reduce(values.to(accelerator.device), "sum")
        assert isinstance(summed, Tensor)
        return summed.cpu()
