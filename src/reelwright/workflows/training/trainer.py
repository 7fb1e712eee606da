"""The loop: steps in order, what happens between them, and the state that lets a run go on."""

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, nullcontext, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from reelwright.core.errors import FileError, MemoryLimitError
from reelwright.core.events import Event, FileSaved, Notice, StageStarted, StepDone
from reelwright.core.held_signals import HeldSignals
from reelwright.data.loader import Loader
from reelwright.protocols.train_configs import TrainConfig
from reelwright.protocols.training import Batch, Batches
from reelwright.workflows.training.keeper import Keeper
from reelwright.workflows.training.model_files import ModelFiles
from reelwright.workflows.training.setting import Moment, Part, Setting, StepResult
from reelwright.workflows.training.step import HalfStepError, Stepper
from reelwright.workflows.training.wishes import Wish, Wishes

STAGE = "train"


@dataclass(frozen=True, kw_only=True)
class Course:
    """The batches of a run, and how long it goes on with them."""

    loader: Batches
    num_steps: int
    num_epochs: int
    stretch: "Stretch | None" = None
    """The part of the run that is taken with these batches; None is all of it."""

    @property
    def last(self) -> int:
        """Steps done when these batches are left."""
        return self.num_steps if self.stretch is None else self.stretch.last

    @property
    def length(self) -> int:
        """Steps that learning rates follow their schedule over."""
        return self.num_steps if self.stretch is None else self.stretch.last - self.stretch.first


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """A part of a run."""

    number: int
    """Its place, from 0."""
    first: int
    """Steps done before it."""
    last: int
    """Steps done at its end, with those before it."""
    epochs_before: int
    """Epochs of the parts before it."""


def plan_course(loader: Loader, config: TrainConfig, *, done: int) -> Course:
    """From where the loader stands, `done` steps after the start.

    The last step of an epoch may have fewer batches. Steps that were taken by another number of processes, or
    with another accumulation, were of another size, so epochs are counted from here.
    """
    per_epoch = -(-len(loader) // config.accumulation)
    if not config.epochs:
        return Course(loader=loader, num_steps=config.steps, num_epochs=-(-config.steps // per_epoch))
    begun = -(-loader.num_left // config.accumulation)
    left = begun + (config.epochs - loader.epoch - 1) * per_epoch
    return Course(loader=loader, num_steps=done + max(left, 0), num_epochs=config.epochs)


class Trainer:
    """One run. Its state is what the steps that were taken came to, and which batch is next."""

    def __init__(
        self,
        setting: Setting,
        stepper: Stepper,
        course: Course,
        keeper: Keeper,
        measures: Mapping[str, Part],
        parts: Mapping[str, Part],
        files: ModelFiles,
    ) -> None:
        """`measures` belong to a step and are quick; `parts` come after it, then `files`."""
        self._setting = setting
        self._stepper = stepper
        self._course = course
        self._loader = course.loader
        self._keeper = keeper
        self._measures = measures
        self._parts = {**parts, "files": files}
        self._files = files
        self._wishes = Wishes(setting.folder, setting.accelerator, setting.config.saving.state_every_minutes)
        self._moment = self._moment_of(0, epoch=0, epoch_ended=False)
        self._position = course.loader.state_dict()
        self._is_between_done = False
        self._saved: tuple[int, bool] | None = None
        self._was_done = False
        self._has_ended = False
        self._held = HeldSignals() if setting.accelerator.num_processes > 1 else None

    @property
    def moment(self) -> Moment:
        return self._moment

    @property
    def has_ended(self) -> bool:
        """Whether all steps of the course were done, rather than stopped before."""
        return self._has_ended

    def restore(self, progress: Mapping[str, Any]) -> None:
        """Stand where the state was written; the loader stands there already."""
        self._moment = self._moment_of(
            progress["step"], epoch=progress["epoch"], epoch_ended=progress["epoch_ended"]
        )
        self._is_between_done = progress["is_between_done"]
        self._was_done = self._moment.is_last and self._is_between_done
        for name, part in self._remembering():
            if name in progress["parts"]:
                part.restore(progress["parts"][name])

    def run(self) -> Generator[Event]:
        """Train to the end. A run that is interrupted, or lacks memory or room, keeps its state first."""
        yield StageStarted(STAGE, self._course.num_steps)
        # Several processes stop together, after a step: one that left would be waited for in vain.
        with self._held or nullcontext():
            try:
                yield from self._train()
            except HalfStepError:
                raise
            except (KeyboardInterrupt, GeneratorExit, MemoryLimitError):
                if not self._setting.accelerator.is_fsdp2:  # where one process alone can write nothing
                    self._save_state()
                raise
            except FileError:
                if self._setting.accelerator.num_processes == 1:
                    with suppress(FileError):  # weights and caches may lie on other disks than states
                        self._save_state()
                raise

    def _train(self) -> Iterator[Event]:
        if self._was_done:
            yield Notice(_nothing_left(self._moment))
            return
        yield from self._measure()
        if not self._is_between_done:
            yield from self._between()
        last = self._course.last
        while self._moment.step < last:
            for window in self._windows():
                yield from self._take(window)
                if self._moment.is_last:
                    break
                if (yield from self._heed()):
                    return
                if self._moment.step >= last:
                    break
        self._has_ended = True
        yield from self._end()

    def _end(self) -> Iterator[Event]:
        saving = self._setting.config.saving
        wants_states = saving.state_every_steps or saving.state_every_minutes
        is_border = not self._moment.is_last
        if saving.state_at_end or saving.state_with_weights or (is_border and wants_states):
            yield from self._write_state()
        if is_border:
            yield from self._files.finish()

    def _take(self, window: Sequence[Batch]) -> Iterator[Event]:
        """One step, which signals do not break, and what comes after it."""
        number = self._moment.step + 1
        with HeldSignals():
            result = self._stepper.take(window, number)
            self._keeper.average(number)
            ended = self._loader.epoch > window[-1].epoch
            before = 0 if self._course.stretch is None else self._course.stretch.epochs_before
            self._position = self._loader.state_dict()
            self._is_between_done = False
            epoch = before + self._loader.epoch
            self._moment = self._moment_of(number, epoch=epoch, epoch_ended=ended, result=result)
            measured = self._measure()
        yield StepDone(STAGE, number, self._course.num_steps, result.seconds, result.peak_memory)
        yield from measured
        yield from self._between()

    def _measure(self) -> list[Event]:
        return [event for part in self._measures.values() for event in part(self._moment)]

    def _remembering(self) -> Iterable[tuple[str, Part]]:
        return (*self._measures.items(), *self._parts.items())

    def _between(self) -> Iterator[Event]:
        """What happens now that a step is done; the state is written when all of it is."""
        moment, saving = self._moment, self._setting.config.saving
        for part in self._parts.values():
            yield from part(moment)
        self._is_between_done = True
        every = saving.state_every_steps
        is_due = every > 0 and moment.step > 0 and moment.step % every == 0
        with_weights = saving.state_with_weights and self._files.is_due(moment)
        if (is_due or with_weights) and not moment.is_last:
            yield from self._write_state()

    def _heed(self) -> Generator[Event, None, bool]:
        """Do what the user wished meanwhile; whether the run is to end."""
        held = self._held
        wish = self._wishes.ask(is_interrupted=held is not None and held.is_pending)
        if wish >= Wish.STATE:
            yield from self._write_state()
        if wish == Wish.INTERRUPT:
            if held is not None and not held.is_pending:
                held.send_now()
            return True
        if wish in (Wish.SAVE, Wish.STOP):
            yield from self._files.write_now(self._moment)
        if wish == Wish.STOP:
            yield Notice(
                f"stopped after step {self._moment.step}, as asked: reelwright resume {self._setting.folder}"
            )
        return wish == Wish.STOP

    def _windows(self) -> Iterator[list[Batch]]:
        """The batches of one step after the other, to the end of the epoch."""
        batches = iter(self._loader)
        assert isinstance(batches, Generator)
        with closing(batches):
            while window := list(islice(batches, self._setting.config.accumulation)):
                yield window

    def _write_state(self) -> Iterator[Event]:
        if path := self._save_state():
            yield FileSaved("state", path)
            yield from self._files.upload_state(Path(path))

    def _save_state(self) -> str:
        """The folder of the state as things stand; empty if it was there, and on other processes."""
        standing = self._moment.step, self._is_between_done
        if standing == self._saved:
            return ""
        with HeldSignals():
            path = self._keeper.write(self.progress())
            self._wishes.state_was_saved()
        self._saved = standing
        return path

    def progress(self) -> dict[str, Any]:
        """Where training stands, as JSON can hold it."""
        moment, stretch = self._moment, self._course.stretch
        return {
            "step": moment.step,
            "epoch": moment.epoch,
            "epoch_ended": moment.epoch_ended,
            "is_between_done": self._is_between_done,
            "loader": self._position,
            "parts": {name: part.state() for name, part in self._remembering()},
            **({} if stretch is None else {"stage": stretch.number}),
        }

    def _moment_of(
        self, step: int, *, epoch: int, epoch_ended: bool, result: StepResult | None = None
    ) -> Moment:
        return Moment(
            step=step,
            num_steps=self._course.num_steps,
            epoch=epoch,
            num_epochs=self._course.num_epochs,
            epoch_ended=epoch_ended,
            result=result,
        )


def _nothing_left(moment: Moment) -> str:
    return (
        f"there is nothing left to do: all {moment.num_steps} steps are done. To train longer, start another"
        " run from this one's state: --state RUN, with more --steps or --epochs."
    )
