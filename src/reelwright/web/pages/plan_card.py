"""What a run will take, shown while its settings are changed: memory and time of each stage."""

from dataclasses import dataclass, replace
from typing import Any

from nicegui import ui

from reelwright.core.errors import ConfigError, UserError
from reelwright.core.sizes import size_text
from reelwright.jobs.order import Order
from reelwright.web.following import duration
from reelwright.web.pages.asking import events_of
from reelwright.web.pages.elements import block, named, words
from reelwright.web.studio import Studio

_PLACES = {"device": "GPU memory", "host": "Memory"}


@dataclass(frozen=True, kw_only=True)
class Failure:
    """What is wrong with an order; no message where nothing is."""

    message: str = ""
    is_config: bool = False
    """Whether the settings are to be changed; else a job may yet do it, as by fetching a model."""


class PlanCard:
    """Asks for the plan of an order and shows it; a later order takes the place of one not answered yet."""

    def __init__(self, studio: Studio) -> None:
        self._studio, self._asked, self._failure = studio, "", Failure()
        with block("rw-card rw-stack", name="plan"):
            with block("rw-row rw-spread"):
                words("What it takes", tag="h2")
                self._busy = named(ui.spinner(size="18px", color=None), "plan-busy")
            with block("rw-stack tight") as self._place:
                words("Memory and time show here as soon as the settings are legal.", "rw-muted rw-small")
        self._busy.set_visibility(False)

    async def ask(self, order: Order) -> "Failure | None":
        """Show what an order takes, and return what is wrong with it; None if a later one came."""
        if order.to_json() == self._asked:
            return self._failure
        self._asked = ""
        try:
            asked = self._studio.places.settled(order)
        except UserError as error:
            return Failure(message=str(error), is_config=True)
        self._busy.set_visibility(True)
        checked = await self._events_of(replace(asked, workflow="check"))
        planned = await self._events_of(replace(asked, workflow="plan", options={"command": "generate"}))
        if checked is None or planned is None or self._place.is_deleted:
            return None
        self._busy.set_visibility(False)
        self._asked = order.to_json()
        self._failure = next((_failure(each) for each in checked if each["event"] == "failed"), Failure())
        self._place.clear()
        with self._place:
            self._draw(planned)
            for each in checked:
                if each["event"] == "notice":
                    words(each["message"], "rw-note")
        return self._failure

    async def _events_of(self, question: Order) -> list[dict[str, Any]] | None:
        topic = f"{question.workflow} {self._place.client.id}"
        return await events_of(self._studio, question, topic=topic)

    def _draw(self, events: list[dict[str, Any]]) -> None:
        plan = next((each["plan"] for each in events if each["event"] == "planned"), None)
        if plan is None:
            words("There is no plan for these settings: see what is wrong with them.", "rw-muted rw-small")
            return
        with block("rw-row still").style("gap: 28px"):
            for place, title in _PLACES.items():
                if plan[place]:
                    _draw_number(size_text(plan[place]), title, f"plan-{place}")
            if plan["seconds"] is not None:
                _draw_number(f"≈ {duration(plan['seconds'])}", "Time", "plan-seconds")
        for text in plan["problems"]:
            words(text, "rw-alert")
        _draw_stages(plan)
        if plan["flags"]:
            words(f"Chosen to make it fit: {plan['flags']}", "rw-note")
        words(f"On {plan['machine']}. An estimate.", "rw-muted rw-tiny")


def _failure(event: dict[str, Any]) -> Failure:
    return Failure(message=event["message"], is_config=event.get("kind") == ConfigError.__name__)


def _draw_number(number: str, title: str, name: str) -> None:
    with block(""):
        named(words(number, "rw-number"), name)
        words(title, "rw-muted rw-tiny")


def _draw_stages(plan: dict[str, Any]) -> None:
    """A bar for each stage, as long as its share of the largest."""
    place = "device" if plan["device"] else "host"
    largest = max((stage[place] for stage in plan["stages"]), default=0) or 1
    for stage in plan["stages"]:
        with block("rw-stack tight", name="plan-stage").style("gap: 3px; margin-top: 4px"):
            with block("rw-row rw-spread rw-tiny"):
                words(stage["name"])
                took = f" · {duration(stage['seconds'])}" if plan["seconds"] is not None else ""
                words(f"{size_text(stage[place])}{took}", "rw-muted")
            with block("rw-bar"):
                ui.element("i").style(f"width: {100 * stage[place] / largest:.1f}%")
