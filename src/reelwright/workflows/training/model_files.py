"""Saved weights: when they are written, what they are called, which of them stay."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

from torch import Tensor

from reelwright.core.events import Event, FileSaved
from reelwright.core.paths import remove_folder
from reelwright.workflows.training.ema import Averages
from reelwright.workflows.training.gathering import gathered
from reelwright.workflows.training.hub import Uploads
from reelwright.workflows.training.metadata import start_day, training_metadata
from reelwright.workflows.training.setting import Moment, Setting, is_due

_AVERAGE = "-ema"


class ModelFiles:
    """A part of the run that saves weights by step, by epoch and at the end.

    They are called name-step00000120, name-000003 and name; what the end saves is not saved under another
    name too. An average of the weights stands beside them, with -ema after its name.
    """

    def __init__(
        self,
        setting: Setting,
        averages: Averages | None = None,
        settled: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        """`settled`: within it the parameters are those to be used, for optimizers that train on others."""
        self._setting = setting
        self._config = setting.config.saving
        self._averages = averages
        self._settled = settled
        self._folder = self._config.folder or setting.folder
        self._uploads = Uploads(setting.config.hub)
        self._started = start_day()
        self._steps: list[int] = []
        self._epochs: list[int] = []

    def __call__(self, moment: Moment) -> Iterator[Event]:
        if moment.is_last:
            yield from self._save(self._setting.config.name, moment, is_final=True)
            return
        if self._is_by_step(moment):
            yield from self.write_now(moment)
        if self._is_by_epoch(moment):
            yield from self._save(self._by_epoch(moment.epoch), moment)
            self._keep_epochs(moment.epoch)

    def is_due(self, moment: Moment) -> bool:
        """Whether weights are saved at this moment."""
        return moment.is_last or self._is_by_step(moment) or self._is_by_epoch(moment)

    def write_now(self, moment: Moment) -> Iterator[Event]:
        """Save the weights under the name of the step."""
        yield from self._save(self._by_step(moment.step), moment)
        self._keep_steps(moment.step)

    def finish(self) -> Iterator[Event]:
        """Wait for what is on its way to the hub."""
        if self._setting.is_main:
            yield from self._uploads.finish()

    def upload_state(self, place: Path) -> Iterator[Event]:
        """Put a state on the hub, if that is wanted. It is waited for: later states may remove it."""
        if self._setting.config.hub.states and self._setting.is_main:
            name = f"{self._setting.config.name}-{place.name}-state"
            yield from self._uploads.send(place, name, is_waited_for=True)

    def state(self) -> dict[str, Any]:
        return {"started": self._started.isoformat(), "steps": self._steps, "epochs": self._epochs}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._started = date.fromisoformat(state["started"])
        self._steps, self._epochs = list(state["steps"]), list(state["epochs"])

    def _is_by_step(self, moment: Moment) -> bool:
        return is_due(moment, self._config.every_steps, 0)

    def _is_by_epoch(self, moment: Moment) -> bool:
        return is_due(moment, 0, self._config.every_epochs)

    def _by_step(self, step: int) -> str:
        return f"{self._setting.config.name}-step{step:08d}"

    def _by_epoch(self, epoch: int) -> str:
        return f"{self._setting.config.name}-{epoch:06d}"

    def _save(self, name: str, moment: Moment, *, is_final: bool = False) -> Iterator[Event]:
        """Write the weights and their average; all processes take part, the main one writes."""
        yield from self._write(name, self._setting.trainables.tensors, moment, self._settled())
        if self._averages is not None:
            averaged = self._write(name + _AVERAGE, self._averages.tensors, moment, nullcontext())
            yield from map(_as_average, averaged)
        if not self._setting.is_main:
            return
        for each in _saved_as(self._folder / name):
            yield from self._uploads.send(each, each.name)
        if is_final:
            yield from self._uploads.finish()

    def _write(
        self,
        name: str,
        tensors: Callable[[], Mapping[str, Tensor]],
        moment: Moment,
        settled: AbstractContextManager[None],
    ) -> Iterator[Event]:
        events: list[Event] = []
        with settled:
            whole = gathered(tensors())
            if self._setting.is_main:
                metadata = training_metadata(self._setting, moment, self._started)
                # To the end before anyone hears of it: the weights are settled only meanwhile.
                events = list(self._setting.trainables.save(self._folder / name, whole, metadata))
        yield from events

    def _keep_steps(self, step: int) -> None:
        """Remove those that are older than so many steps."""
        keep = self._config.keep_steps
        old = [each for each in self._steps if keep and step - each > keep]
        self._remove([self._by_step(each) for each in old])
        self._steps = sorted({step, *self._steps} - set(old))

    def _keep_epochs(self, epoch: int) -> None:
        """Remove all but the last so many."""
        known = sorted({epoch, *self._epochs})
        self._epochs = known[-self._config.keep_epochs :]
        self._remove([self._by_epoch(each) for each in known if each not in self._epochs])

    def _remove(self, names: list[str]) -> None:
        """Files that are still on their way to the hub are waited for."""
        if not names or not self._setting.is_main:
            return
        self._uploads.wait()
        for name in names:
            for path in _saved_as(self._folder / name):
                with suppress(OSError):
                    remove_folder(path) if path.is_dir() else path.unlink()


def _as_average(event: Event) -> Event:
    """Told apart from the file of the weights themselves."""
    return replace(event, kind=f"averaged {event.kind}") if isinstance(event, FileSaved) else event


def _saved_as(place: Path) -> list[Path]:
    """What `Trainables.save` made of a place, and of the average beside it: files or folders."""
    names = [name + suffix for name in (place.name, place.name + _AVERAGE) for suffix in ("", ".safetensors")]
    return [path for name in names if (path := place.with_name(name)).exists()]
