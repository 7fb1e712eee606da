"""All files of a model read by a job, and what it finds told on the page: which are whole, which are not."""

from collections.abc import Mapping, Sequence
from typing import Any

from nicegui import ui

from reelwright.core.errors import UserError
from reelwright.jobs.order import Order
from reelwright.jobs.queue import Job
from reelwright.web.following import Progress, follow
from reelwright.web.pages.answers import failure_of
from reelwright.web.pages.elements import block, facts, named, tell, words
from reelwright.web.pages.job_acts import state_text
from reelwright.web.pages.job_card import progress_line
from reelwright.web.studio import Studio

Events = Sequence[Mapping[str, Any]]


class Verification:
    """Drawn where it is made, empty until something is read; the last reading stays."""

    def __init__(self, studio: Studio, name: str) -> None:
        self._studio, self._name, self._job, self._last = studio, name, "", -1
        self._found = named(ui.element("div").classes("rw-stack tight"), f"found-{name}")

    def start(self, family: str, model: str) -> None:
        """Order to read a variant, or the folder or file of that path; without a family all are tried."""
        options = {"action": "verify", "family": family, "model": model}
        try:
            order = Order(workflow="models", options=options)
            self._job, self._last = self._studio.add(order, title=f"Verify {family} {model}").id, -1
        except UserError as error:
            tell(str(error), "negative")
        self.follow()

    def follow(self) -> None:
        """Show what the job has found since."""
        if not self._job:
            return
        try:
            job = self._studio.queue.get(self._job)
            events = self._studio.queue.events(self._job)
        except UserError:  # it was removed from the queue
            self._job = ""
            return
        progress = follow(Progress(), events)
        if progress.last == self._last and not job.is_final:
            return
        self._job, self._last = "" if job.is_final else self._job, progress.last
        self._found.clear()
        with self._found:
            self._draw(job, progress, events)

    def _draw(self, job: Job, progress: Progress, events: Events) -> None:
        damaged = [each for each in events if each["event"] == "item_finding" and each["severity"] != "note"]
        with block("rw-row still rw-spread"):
            words(progress_line(job, progress), "rw-muted rw-tiny rw-cut")
            state = "Damaged" if damaged and job.state == "failed" else state_text(job)
            named(words(state, f"rw-state {job.state}"), f"verified-{self._name}")
        for each in damaged:
            is_named = str(each["message"]).startswith(each["item"])  # or a file in it is
            words(each["message"] if is_named else f"{each['item']}: {each['message']}", "rw-alert")
        if message := failure_of([*map(dict, events)]):
            words(message, "rw-note" if damaged else "rw-alert")
        told = [event["facts"] for event in events if event["event"] == "facts"]
        facts({name: value for each in told for name, value in each.items()})
