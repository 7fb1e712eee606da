"""The data of a training: which clips, what is wrong with them, how they will be seen, their caches."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from nicegui import ui

from reelwright import families
from reelwright.core.errors import UserError
from reelwright.jobs.order import Order
from reelwright.jobs.queue import Job
from reelwright.web.following import Progress, follow
from reelwright.web.pages.answers import ask
from reelwright.web.pages.elements import block, button, facts, heading, named, tell, words
from reelwright.web.pages.field_set import FieldSet
from reelwright.web.pages.files import url_of
from reelwright.web.pages.job_acts import state_text
from reelwright.web.pages.job_card import progress_line
from reelwright.web.settings import Settings
from reelwright.web.studio import Studio
from reelwright.web.train_layout import DATA_OPEN, group_folds, shared_values

_LOOK_SECONDS = 0.8
_NUM_CLIPS, _NUM_FINDINGS = 16, 40
_ICONS = {"error": "error_outline", "warning": "warning_amber", "note": "info"}
_SEVERITIES = tuple(_ICONS)
_KINDS = {"latents": "clips", "text": "captions"}


class TrainData:
    """Settings of encoding, whose clips are those of the training; `changed` is told of each change."""

    def __init__(
        self, studio: Studio, family: str, values: dict[str, Any], changed: Callable[[], None]
    ) -> None:
        self._studio, self._family, self._told = studio, family, changed
        self.settings = Settings(families.configs(family).CACHE_LATENTS, values)
        with block("rw-card rw-stack", name="train-data"):
            heading(2, "1 · Data")
            self._fields = FieldSet(self.settings, self._settled)
            self._fields.draw(DATA_OPEN)
            self._fields.draw_rest(group_folds(self.settings.schema, DATA_OPEN))
            with block("rw-row"):
                self._check = button("Check it", self._look, "data-check", icon="fact_check")
                self._encode = button("Encode it", self._cache, "data-cache", icon="memory")
            self._found = named(ui.element("div").classes("rw-stack"), "data-found")
            self._jobs = CacheJobs(studio)

    def _settled(self, problems: dict[str, str]) -> None:
        self._told()

    async def _look(self) -> None:
        """Ask what is wrong with the clips and draw what will be trained on."""
        sheets = self._studio.runs / "data-sheets" / self._family
        clips = shared_values(self.settings.values, families.configs(self._family).CLIPS)
        lint = Order(workflow="lint", family=self._family, options={"clips": clips})
        preview = {"out": str(sheets), "num_clips": _NUM_CLIPS, "rows": _NUM_CLIPS}
        look = Order(workflow="preview", family=self._family, options={"preview": preview, "clips": clips})
        self._check.props("loading")
        answers = [await ask(self._studio, order, f"data {order.workflow}") for order in (lint, look)]
        self._check.props(remove="loading")
        events = [event for answer in answers for event in answer or ()]
        self._found.clear()
        with self._found:
            _draw_findings(events)
            self._draw_sheets(events)

    def _draw_sheets(self, events: Sequence[dict[str, Any]]) -> None:
        for event in events:
            if event["event"] == "file_saved" and event["kind"] == "contact_sheet":
                sheet = ui.element("img").classes("tr-sheet").props('alt="What will be trained on"')
                sheet.props["src"] = url_of(self._studio, event["path"])
                named(sheet, "data-sheet")

    def _cache(self) -> None:
        """Order the caches of clips and captions."""
        configs = families.configs(self._family)
        texts = shared_values(self.settings.values, configs.CACHE_TEXT)
        try:
            for kind, values in (("latents", self.settings.values), ("text", texts)):
                order = Order(workflow="cache", family=self._family, values=values, options={"kind": kind})
                self._jobs.follow(self._studio.add(order, title=f"Encode {_KINDS[kind]}"))
        except UserError as error:
            tell(str(error), "negative")


class CacheJobs:
    """A line for each job that encodes."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        self._lines: dict[str, tuple[ui.label, ui.label, Progress]] = {}
        self._place = named(ui.element("div").classes("rw-stack tight"), "cache-jobs")
        ui.timer(_LOOK_SECONDS, self._refresh)

    def follow(self, job: Job) -> None:
        """Show this job too."""
        with self._place, block("rw-row still rw-spread"):
            words(job.title, "rw-small rw-strong")
            line = ui.label("").classes("rw-muted rw-tiny rw-grow")
            state = named(ui.label("").classes("rw-state"), f"cache-{job.order.options['kind']}")
        self._lines[job.id] = (line, state, Progress())

    def _refresh(self) -> None:
        for identity, (line, state, before) in list(self._lines.items()):
            try:
                job = self._studio.queue.get(identity)
                progress = follow(before, self._studio.queue.events(identity, before.last))
            except UserError:  # it was removed from the queue
                del self._lines[identity]
                continue
            self._lines[identity] = (line, state, progress)
            line.set_text(job.message or progress_line(job, progress))
            state.set_text(state_text(job))
            state.classes(replace=f"rw-state {job.state}")


def _draw_findings(events: Sequence[dict[str, Any]]) -> None:
    """The totals, then what is wrong, the worst first."""
    for event in events:
        if event["event"] == "facts":
            facts(event["facts"])
        elif event["event"] == "failed":
            words(event["message"], "rw-alert")
    found = [event for event in events if event["event"] == "item_finding"]
    found.sort(key=lambda event: _SEVERITIES.index(event["severity"]))
    if not found:
        return
    with ui.expansion(f"{len(found)} findings", value=True), block("rw-stack tight", name="findings"):
        for event in found[:_NUM_FINDINGS]:
            with block(f"tr-finding {event['severity']}"):
                ui.icon(_ICONS[event["severity"]])
                words(f"{Path(event['item']).name}: {event['message']}", "rw-small")
        if len(found) > _NUM_FINDINGS:
            words(
                f"and {len(found) - _NUM_FINDINGS} more: reelwright dataset lint tells all.",
                "rw-muted rw-tiny",
            )
