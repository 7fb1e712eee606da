"""The page Models: which are here, which are missing, whether their files are whole; and LoRA files."""

from collections.abc import Sequence

from nicegui import background_tasks, ui

from reelwright.jobs.order import Order
from reelwright.web.pages.answers import ask, failure_of
from reelwright.web.pages.desk import Desk
from reelwright.web.pages.elements import block, button, facts, heading, named, tell, words
from reelwright.web.pages.lora_files import LoraFiles
from reelwright.web.pages.shell import frame
from reelwright.web.pages.verifying import Verification
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
        self._own = OwnModel(studio)
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
        for each in (self._own, *self._cards):
            each.verification.follow()


class OwnModel:
    """A folder or file of the user's, whose family is found out."""

    def __init__(self, studio: Studio) -> None:
        with block("rw-card rw-stack", name="own-model"):
            heading(2, "A model of your own")
            with block("rw-row"):
                self._path = ui.input("A folder or file").classes("rw-grow").props("outlined dense")
                named(self._path, "own-path").on("keydown.enter", self._verify)
                button("Verify", self._verify, "verify-own", icon="verified")
            self.verification = Verification(studio, "own")

    def _verify(self) -> None:
        if path := str(self._path.value or "").strip():
            self.verification.start("", path)
        else:
            tell("Type where the model is.")


class ModelCard:
    """One model, which parts of it are here, and whether they are whole."""

    def __init__(self, studio: Studio, told: dict[str, str]) -> None:
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
            self.verification = Verification(studio, self._name)

    @property
    def _name(self) -> str:
        return self._model.replace(" ", "-")

    def _verify(self) -> None:
        family, _, variant = self._model.partition(" ")
        self.verification.start(family, variant)

    def _draw_head(self, told: dict[str, str], state: str, text: str) -> None:
        with block("rw-row still rw-spread"):
            with block("rw-grow"):
                heading(3, told["title"])
                words(f"{self._model} · {told['license']}", "rw-muted rw-tiny")
            named(words(text, f"rw-state {state}"), f"state-{self._name}")


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
