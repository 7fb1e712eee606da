"""One training while it runs and after: curves, samples, what is saved; stop and go on."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from nicegui import ui

from reelwright.core.errors import UserError
from reelwright.core.sizes import size_text
from reelwright.jobs.order import order_of
from reelwright.jobs.queue import Job
from reelwright.jobs.stored_runs import StoredRun, read_run
from reelwright.protocols.train_configs import LearningConfig
from reelwright.web.pages.desk import Desk
from reelwright.web.pages.elements import block, button, heading, named, tell, words
from reelwright.web.pages.files import url_of
from reelwright.web.pages.job_card import JobCard
from reelwright.web.pages.loss_chart import CurveChart
from reelwright.web.studio import Studio
from reelwright.web.training_log import (
    TrainingLog,
    ask_to_stop,
    is_asked_to_stop,
    list_samples,
    take_back_stop,
    weights_of,
)

_LOOK_SECONDS = 0.8
_LOSSES = {"loss": "loss", "smoothed_loss": "smoothed", "validation_loss": "validation"}
_OTHERS = {
    "gradient_norm": "Gradient norm",
    "change": "Change of the weights",
    "items_per_second": "Items per second",
    "seconds": "Seconds per step",
    "peak_memory": "Peak memory",
}
_STEP = "step"
_NUMBERS = {
    _STEP: "Step",
    "smoothed_loss": "Loss",
    "validation_loss": "Validation",
    "items_per_second": "Items/s",
}


class TrainRun:
    """One run folder of training."""

    def __init__(self, studio: Studio, desk: Desk, run: Path) -> None:
        self._studio, self._desk, self._run = studio, desk, run
        self._log = TrainingLog(run)
        self._shown: dict[str, object] = {}
        with block("rw-split st-run", name="train-run"):
            with block("rw-stack"):
                self._draw_curves()
                self._samples = named(ui.element("div").classes("rw-stack"), "samples")
            with block("rw-stack rw-side", tag="aside"):
                self._card = JobCard(studio)
                self._draw_acts()
                self._notes = ui.element("div").classes("rw-stack tight")
                self._saved = ui.element("div")
        self.refresh()
        ui.timer(_LOOK_SECONDS, self.refresh)

    def refresh(self) -> None:
        """Show what is new in the run folder and in the queue."""
        job = self._card.show_run(self._run)
        if self._log.refresh():
            self._show_curves()
        self._show_acts(job)
        self._redraw("samples", list_samples(self._run), self._show_samples)
        self._redraw("saved", weights_of(self._run), self._show_saved)
        self._redraw("notes", len(self._log.alarms), self._show_notes)

    def _redraw(self, part: str, now: object, draw: Callable[[], None]) -> None:
        """Draw a part anew only where it tells something else: what is being pressed stays there."""
        if self._shown.get(part) != now:
            self._shown[part] = now
            draw()

    def _draw_curves(self) -> None:
        with block("rw-card rw-stack"):
            with block("tr-numbers"):
                self._numbers = {
                    name: _draw_number(title) for name, title in {"step": "Step", **_NUMBERS}.items()
                }
            self._losses = CurveChart("loss-chart", "Loss over steps", faint=("loss",))
            with block("rw-row rw-spread"):
                words("Another number", "rw-muted rw-small")
                self._other = ui.select(_OTHERS, value="gradient_norm", on_change=self._show_curves)
                named(self._other.props("outlined dense options-dense"), "other-number")
                self._other.props["aria-label"] = "Another number to draw"
            self._curve = CurveChart("other-chart", "Another number over steps")

    def _show_curves(self) -> None:
        points, last = self._log.points, self._num_steps()
        self._losses.show({title: points[name] for name, title in _LOSSES.items() if points.get(name)}, last)
        other = str(self._other.value)
        self._curve.show({_OTHERS[other]: points.get(other, [])}, last)
        for name, shown in self._numbers.items():
            value = self._log.latest(name)
            shown.set_text("–" if value is None else f"{value:.4g}")
        self._numbers[_STEP].set_text(f"{self._log.step} / {last}" if last else str(self._log.step))

    def _show_samples(self) -> None:
        self._samples.clear()
        sheets = list_samples(self._run)
        if not sheets:
            return
        with self._samples:
            heading(2, "Samples")
            for sheet in sheets:
                title = f"after step {sheet.step}" if sheet.step else "before training"
                with block("rw-card rw-stack tight", name=f"sample-{sheet.step}"):
                    words(title, "rw-small rw-strong")
                    for picture in sheet.pictures:
                        image = ui.element("img").classes("tr-sheet").props(f'alt="Samples {title}"')
                        image.props["src"] = url_of(self._studio, picture)

    def _draw_acts(self) -> None:
        with block("rw-row"):
            self._stop = button("Stop and save", self._ask_to_stop, "train-stop", icon="stop")
            self._go_on = button("Go on", self._resume, "train-go-on", look="primary", icon="play_arrow")

    def _show_acts(self, job: Job | None) -> None:
        is_over = job is None or job.state == "done"
        self._stop.set_visibility(job is not None and job.has_worker)
        self._stop.set_enabled(not is_asked_to_stop(self._run))
        self._go_on.set_visibility(is_over and 0 < self._log.step < self._num_steps())

    def _show_notes(self) -> None:
        self._notes.clear()
        with self._notes:
            for alarm in self._log.alarms[-3:]:
                words(alarm, "rw-note")

    def _show_saved(self) -> None:
        self._saved.clear()
        weights = weights_of(self._run)
        if not weights:
            return
        with self._saved, block("rw-card rw-stack", name="saved"):
            heading(2, "Saved")
            for path in reversed(weights):
                with block("rw-row still rw-spread"):
                    words(path.name, "rw-small rw-cut")
                    words(size_text(path.stat().st_size), "rw-muted rw-tiny")
            if self._is_adapter():
                use = partial(self._use, weights[-1])
                button("Use the last one in Generate", use, "use-lora", icon="auto_awesome")

    def _ask_to_stop(self) -> None:
        ask_to_stop(self._run)
        job = self._card.show_run(self._run)
        try:
            if job is not None and job.holds:  # it heeds nothing until it goes on
                self._studio.queue.go_on(job.id)
        except UserError as error:
            tell(str(error), "negative")
            return
        tell("It saves weights and state after this step, and ends.")
        self.refresh()

    def _resume(self) -> None:
        take_back_stop(self._run)
        try:
            stored = read_run(self._run)
            order = order_of(stored.workflow, {"family": stored.family, "config": stored.config})
            self._studio.queue.add(order, title=f"{self._run.name}, gone on with", run=self._run)
        except UserError as error:
            tell(str(error), "negative")
        self.refresh()

    def _use(self, weights: Path) -> None:
        stored = self._stored()
        if stored is None:
            return
        draft = self._desk.drafts.get(stored.family, {})
        self._desk.drafts[stored.family] = {**draft, "model": stored.config.model, "lora": [str(weights)]}
        self._desk.family = stored.family
        self._desk.keep()
        ui.navigate.to("/")

    def _is_adapter(self) -> bool:
        stored = self._stored()
        return stored is not None and getattr(stored.config, "method", "full") != "full"

    def _num_steps(self) -> int:
        """How many there will be; 0 where epochs decide, or nobody knows yet."""
        stored = self._stored()
        if stored is None or not isinstance(stored.config, LearningConfig):
            return 0
        return 0 if getattr(stored.config, "epochs", 0) else stored.config.steps

    def _stored(self) -> StoredRun | None:
        try:
            return read_run(self._run)
        except UserError:  # the worker has not begun yet
            return None


def _draw_number(title: str) -> ui.label:
    with block(""):
        shown = named(ui.label("–").classes("rw-number"), f"number-{title.lower()}")
        words(title, "rw-muted rw-tiny")
    return shown
