"""The page Train: data, caches, settings; then one run with its curves and samples."""

from pathlib import Path

from nicegui import ui

from reelwright import families
from reelwright.core.errors import UserError
from reelwright.jobs.order import Order
from reelwright.web.pages.desk import Desk
from reelwright.web.pages.elements import block, button, heading, named, tell, words
from reelwright.web.pages.family_chips import FamilyChips
from reelwright.web.pages.field_set import FieldSet
from reelwright.web.pages.run_picker import draw_run_picker, new_run_folder
from reelwright.web.pages.shell import frame
from reelwright.web.pages.train_data import TrainData
from reelwright.web.pages.train_run import TrainRun
from reelwright.web.settings import Settings, by_field
from reelwright.web.studio import Studio
from reelwright.web.train_layout import TRAIN_OPEN, TRAIN_WATCHED, group_folds, shared_values
from reelwright.web.training_log import METRICS

NAME = "Train"
PAGE, NEW = "/train", "New training"
_ABOUT = "Teach a model from clips of yours: check them, encode them, train, and watch."
_FROM_DATA = ("dataset", "model")
"""What the data says for the training too."""


def build(studio: Studio, desk: Desk, run: str = "") -> None:
    """Draw a new training, or the run of that name."""
    with frame(studio, desk, NAME, _ABOUT):
        runs = {path.name: path for path in training_runs(studio)}
        if run in runs:
            draw_run_picker(PAGE, NEW, tuple(runs), run)
            TrainRun(studio, desk, runs[run])
            return
        if run:
            tell(f"There is no training {run}.", "negative")
        NewTraining(studio, desk)


def training_runs(studio: Studio) -> list[Path]:
    """Runs of training, the newest first; those that wait for their turn too."""
    begun = {path.parent for path in studio.runs.glob(f"*/{METRICS}")}
    queued = {job.run for job in studio.queue.list() if job.run and job.order.workflow == "train"}
    return sorted(begun | queued, key=lambda path: path.name, reverse=True)


class NewTraining:
    """A training while it is put together, kept on the desk; at the end it becomes a job."""

    def __init__(self, studio: Studio, desk: Desk) -> None:
        self._studio, self._desk = studio, desk
        known = families.names()
        self._family = desk.family if desk.family in known else known[0]
        draft = desk.drafts.get(self._key, {})
        with block("rw-row rw-spread st-head"):
            draw_run_picker(PAGE, NEW, tuple(path.name for path in training_runs(studio)), "")
            with block("st-act rw-sticky"):
                button("Start training", self._start, "train-start", look="primary", icon="school")
            self._alert = named(words("", "rw-alert"), "train-problem")
            self._alert.props["role"] = "alert"
            self._alert.set_visibility(False)
        FamilyChips(known, self._family, self._choose)
        with block("tr-columns"):
            self._data = TrainData(studio, self._family, draft.get("data", {}), self._keep)
            self._draw_settings(draft.get("train", {}))

    @property
    def _key(self) -> str:
        return f"train {self._family}"

    def _draw_settings(self, values: dict[str, object]) -> None:
        schema = families.configs(self._family).TRAIN
        self._settings = Settings(schema, values)
        with block("rw-card rw-stack", name="train-form"):
            heading(2, "2 · Training")
            self._fields = FieldSet(self._settings, lambda _: self._keep())
            self._fields.draw(TRAIN_OPEN)
            words("What to watch", "rw-label rw-strong")
            self._fields.draw(TRAIN_WATCHED)
            self._fields.draw_rest(group_folds(schema, (*TRAIN_OPEN, *TRAIN_WATCHED, *_FROM_DATA)))

    def _choose(self, family: str) -> None:
        self._keep()
        self._desk.family = family
        self._desk.keep()
        ui.navigate.to("/train")

    def _keep(self) -> None:
        self._desk.drafts[self._key] = {"data": self._data.settings.values, "train": self._settings.values}
        self._desk.keep()

    def _start(self) -> None:
        try:
            run = self._order()
        except UserError as error:
            rest = self._fields.show_problems(by_field(str(error), self._settings.facts))
            self._alert.set_text(rest or "Some settings cannot be used: see what stands beside them.")
            self._alert.set_visibility(True)
            return
        ui.navigate.to(f"/train?run={run.name}")

    def _order(self) -> Path:
        """Queue the training in a run folder of its own; that folder."""
        said = shared_values(self._data.settings.values, self._settings.schema)
        values = {**self._settings.values, **{name: said[name] for name in _FROM_DATA if name in said}}
        name = str(self._settings.get("name"))
        run = new_run_folder(self._studio.runs, name)
        order = Order(workflow="train", family=self._family, values={**values, "run": str(run)})
        self._studio.add(order, title=f"Train {name}")
        return run
