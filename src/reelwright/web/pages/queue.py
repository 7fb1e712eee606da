"""Queue: what runs, what waits and in which order, what is done; shared with REST and the command line."""

from collections.abc import Callable, Sequence
from functools import partial

from nicegui import ui
from nicegui.events import SortableEventArguments

from reelwright.core.errors import UserError
from reelwright.jobs.queue import WAITING, Job
from reelwright.web.pages.desk import Desk
from reelwright.web.pages.elements import block, button, heading, nothing_here, tell
from reelwright.web.pages.queue_row import QueueRow
from reelwright.web.pages.shell import frame
from reelwright.web.studio import Studio

NAME = "Queue"
_POLL_SECONDS = 0.5
_MOST_ENDED = 50
_EDITABLE = ("queued", "paused", "failed", "cancelled")


def build(studio: Studio, desk: Desk) -> None:
    """Draw the page; it stays up to date by itself."""
    with frame(studio, desk, NAME, "Jobs run one after another, and go on when the studio starts again."):
        _Page(studio)


class _Page:
    """One visit: rows that change in place while their order stays, and are drawn anew when it does not."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        self._revision = -1
        self._shape: object = None
        self._rows: dict[str, QueueRow] = {}
        self._waiting: list[str] = []
        self._place = block("rw-stack loose", name="queue")
        self._refresh()
        ui.timer(_POLL_SECONDS, self._refresh)

    def _refresh(self) -> None:
        revision = self._studio.queue.revision()
        if revision == self._revision:
            return
        self._revision = revision
        jobs = self._studio.queue.list()
        shape = [(job.id, job.state, job.holds) for job in jobs]
        if shape != self._shape:
            self._shape = shape
            self._place.clear()
            self._rows = {}
            with self._place:
                self._draw(jobs)
        for job in jobs:
            if job.id in self._rows:
                self._rows[job.id].show(job)

    def _draw(self, jobs: Sequence[Job]) -> None:
        now = [job for job in jobs if job.has_worker]
        waiting = [job for job in jobs if job.state in WAITING and not job.has_worker]
        ended = sorted((job for job in jobs if job.is_final), key=lambda job: -(job.ended or job.created))
        self._waiting = [job.id for job in waiting]
        if not jobs:
            nothing_here("playlist_play", "Nothing waits. Jobs that you add stand here.", "queue-empty")
        self._draw_rows("Now", "now", now)
        self._draw_waiting(waiting)
        self._draw_rows("Ended", "ended", ended[:_MOST_ENDED])
        if ended:
            with block("rw-row"):
                button("Clear what ended", self._clear, "clear-ended", look="ghost", icon="cleaning_services")

    def _draw_rows(self, title: str, name: str, jobs: Sequence[Job]) -> None:
        if not jobs:
            return
        with block("rw-stack", tag="section", name=f"queue-{name}"):
            heading(2, title)
            for job in jobs:
                self._draw_row(job, None)

    def _draw_waiting(self, jobs: Sequence[Job]) -> None:
        """These can be moved: by dragging, or by buttons, which keys reach."""
        if not jobs:
            return
        with block("rw-stack", tag="section", name="queue-waiting"):
            heading(2, "Waiting")
            with ui.column().classes("rw-stack") as rows:
                for job in jobs:
                    self._draw_row(job, partial(self._step, job.id))
        rows.make_sortable(handle=".handle", on_end=self._dropped)

    def _draw_row(self, job: Job, move: Callable[[int], None] | None) -> None:
        can_edit = job.state in _EDITABLE and not job.holds and job.order.workflow == "generate"
        edit = partial(ui.navigate.to, f"/?job={job.id}") if can_edit else None
        self._rows[job.id] = QueueRow(self._studio, job, move=move, edit=edit, changed=self._refresh)

    def _step(self, job: str, by: int) -> None:
        """Move a waiting job one place up (-1) or down (1)."""
        self._move(job, self._waiting.index(job) + by)

    def _dropped(self, event: SortableEventArguments) -> None:
        self._move(self._waiting[event.old_index], event.new_index)

    def _move(self, job: str, to: int) -> None:
        others = [other for other in self._waiting if other != job]
        to = max(to, 0)
        try:
            self._studio.queue.move(job, others[to] if to < len(others) else None)
        except UserError as error:
            tell(str(error), "negative")
        self._refresh()

    def _clear(self) -> None:
        for job in self._studio.queue.list(("done", "cancelled", "failed")):
            self._studio.queue.remove(job.id)
        self._refresh()
