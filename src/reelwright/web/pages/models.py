"""The page Models: which are here, which are missing, whether their files are whole; and LoRA files."""

from collections.abc import Sequence
from typing import Any

from nicegui import background_tasks, ui

from reelwright.core.errors import UserError
from reelwright.jobs.order import Order
from reelwright.web.following import Progress, follow
from reelwright.web.pages.answers import ask, failure_of
from reelwright.web.pages.desk import Desk
from reelwright.web.pages.elements import block, button, facts, heading, named, tell, words
from reelwright.web.pages.job_acts import state_text
from reelwright.web.pages.job_card import progress_line
from reelwright.web.pages.lora_files import LoraFiles
from reelwright.web.pages.shell import frame
from reelwright.web.studio import Studio

NAME = "Models"
_ABOUT = "What is on this machine, what is missing, and the command that fetches it."
_LOOK_SECONDS = 0.8
_NOT_PARTS = ("model", "title", "license", "get it", "use it")
_MISSING = "missing"


def build(studio: Studio, desk: Desk) -> None:
    """Draw the page; the models are looked for while it stands."""
    with frame(studio, desk, NAME, _ABOUT):
        ReleasedModels(studio)


class ReleasedModels:
    """A card for each model, found by the answering process."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        self._cards: list[ModelCard] = []
        with block("rw-stack", name="models"):
            with block("rw-row rw-spread"):
                heading(2, "On this machine")
                button("Look again", self._look, "models-look", look="ghost", icon="refresh")
            self._place = named(ui.element("div").classes("rw-grid").style("--tile: 330px"), "model-cards")
        LoraFiles(studio)
        self._missing = named(ui.element("div").classes("rw-stack"), "missing-models")
        background_tasks.create(self._look(), name="models")
        ui.timer(_LOOK_SECONDS, self._follow)

    async def _look(self) -> None:
        self._cards.clear()
        self._place.clear()
        with self._place:
            ui.spinner(size="28px", color=None)
        events = await ask(self._studio, Order(workflow="models", options={"action": "list"}), "models")
        if events is None:
            return
        self._place.clear()
        with self._place:
            if message := failure_of(events):
                words(message, "rw-alert")
            found = [event["facts"] for event in events if event["event"] == "facts"]
            models = [told for told in found if "model" in told]
            self._cards = [ModelCard(self._studio, told) for told in models if not _is_missing(told)]
        self._missing.clear()
        with self._missing:
            _draw_missing([told for told in models if _is_missing(told)])

    def _follow(self) -> None:
        for card in self._cards:
            card.follow()


class ModelCard:
    """One model, which parts of it are here, and whether they are whole."""

    def __init__(self, studio: Studio, told: dict[str, str]) -> None:
        self._studio, self._job, self._progress = studio, "", Progress()
        self._model = told["model"]
        parts = _parts(told)
        missing = [name for name, place in parts.items() if place.startswith(_MISSING)]
        with block("rw-card rw-stack", name=f"model-{self._name}"):
            self._draw_head(told, *(("paused", "In part") if missing else ("done", "Here")))
            with ui.expansion("Parts", caption=f"{len(parts) - len(missing)} of {len(parts)} here"):
                facts(parts, classes="mo-parts")
            if missing:
                words(told.get("get it", ""), "mo-command mono")
            else:
                button("Verify", self._verify, f"verify-{self._name}", icon="verified")
            self._found = ui.element("div").classes("rw-stack tight")

    @property
    def _name(self) -> str:
        return self._model.replace(" ", "-")

    def follow(self) -> None:
        """Show what the job that reads the files has found since."""
        if not self._job:
            return
        try:
            job = self._studio.queue.get(self._job)
            events = self._studio.queue.events(self._job)
        except UserError:  # it was removed from the queue
            self._job = ""
            return
        progress = follow(Progress(), events)
        if progress.last == self._progress.last and not job.is_final:
            return
        self._job, self._progress = "" if job.is_final else self._job, progress
        self._found.clear()
        with self._found:
            with block("rw-row still rw-spread"):
                words(progress_line(job, progress), "rw-muted rw-tiny rw-cut")
                named(words(state_text(job), f"rw-state {job.state}"), f"verified-{self._name}")
            _draw_findings(events)

    def _draw_head(self, told: dict[str, str], state: str, text: str) -> None:
        with block("rw-row still rw-spread"):
            with block("rw-grow"):
                heading(3, told["title"])
                words(f"{self._model} · {told['license']}", "rw-muted rw-tiny")
            named(words(text, f"rw-state {state}"), f"state-{self._name}")

    def _verify(self) -> None:
        """Order to read all files of the model."""
        family, _, variant = self._model.partition(" ")
        options = {"action": "verify", "family": family, "model": variant}
        try:
            order = Order(workflow="models", options=options)
            self._job = self._studio.queue.add(order, title=f"Verify {self._model}").id
        except UserError as error:
            tell(str(error), "negative")


def _draw_findings(events: Sequence[dict[str, Any]]) -> None:
    for event in events:
        if event["event"] == "item_finding" and event["severity"] != "note":
            words(f"{event['item']}: {event['message']}", "rw-alert")
        elif event["event"] == "facts":
            facts(event["facts"])


def _draw_missing(models: Sequence[dict[str, str]]) -> None:
    """A line for each model of which nothing is here, with the command that fetches it."""
    if not models:
        return
    heading(2, "To be had")
    with block("rw-card mo-missing"):
        for told in models:
            with block("mo-row", name=f"model-{told['model'].replace(' ', '-')}"):
                with block("rw-grow"):
                    words(told["title"], "rw-strong rw-small")
                    words(f"{told['model']} · {told['license']}", "rw-muted rw-tiny")
                words(told.get("get it", ""), "mo-command mono")


def _parts(told: dict[str, str]) -> dict[str, str]:
    return {name: place for name, place in told.items() if name not in _NOT_PARTS}


def _is_missing(told: dict[str, str]) -> bool:
    return all(place.startswith(_MISSING) for place in _parts(told).values())
