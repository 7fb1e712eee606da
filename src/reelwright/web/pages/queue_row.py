"""One row of the queue: what it makes, how far it is, and what can be done to it."""

from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path
from urllib.parse import quote

from nicegui import ui

from reelwright.jobs.queue import Job
from reelwright.web.following import duration
from reelwright.web.gallery import RECIPE, thumbnail_of
from reelwright.web.pages.elements import block, icon_button, named, words
from reelwright.web.pages.files import url_of
from reelwright.web.pages.job_acts import draw_acts, state_text
from reelwright.web.studio import Studio

_TOLD = ("model", "width", "height", "num_frames", "steps", "seed")


class QueueRow:
    """Drawn once for a state; `show` brings progress, wishes and the thumbnail up to date."""

    def __init__(
        self,
        studio: Studio,
        job: Job,
        *,
        move: Callable[[int], None] | None,
        edit: Callable[[], None] | None,
        changed: Callable[[], None],
    ) -> None:
        self._studio, self._source, self._wish = studio, "", job.wish
        self._changed = changed
        with named(ui.element("article").classes(f"rw-job {job.state}"), f"row-{job.id}") as row:
            row.props["data-state"] = job.state
            if move is not None:
                ui.icon("drag_indicator").classes("handle").props('aria-hidden="true"')
            self._thumb = block("rw-thumb")
            with block("rw-stack tight rw-grow"):
                with block("rw-row still"):
                    words(job.title or job.order.workflow, "rw-strong rw-cut rw-grow")
                    self._state = words("", f"rw-state {job.state}")
                words(_about(job), "rw-muted rw-tiny rw-cut")
                self._bar = ui.linear_progress(0, show_value=False, size="5px", color=None)
                self._bar.props["aria-label"] = "Progress"
                self._line = words("", "rw-muted rw-tiny")
            self._acts = block("acts rw-row tight still")
        self._move, self._edit = move, edit
        self._draw_acts(job)
        self.show(job)

    def show(self, job: Job) -> None:
        """Bring what changes within a state up to date."""
        self._state.set_text(state_text(job))
        done = job.progress
        share = done.get("step", 0) / done["total"] if done.get("total") else 0.0
        self._bar.set_value(share)
        self._bar.set_visibility(job.has_worker or (job.state == "paused" and bool(done)))
        self._line.set_text(_line(job))
        self._line.classes(
            replace="rw-small rw-bad rw-clamp" if job.state == "failed" else "rw-muted rw-tiny"
        )
        if job.wish != self._wish:
            self._wish = job.wish
            self._draw_acts(job)
        self._draw_thumb(job)

    def _draw_acts(self, job: Job) -> None:
        self._acts.clear()
        with self._acts:
            if self._move is not None:
                icon_button("arrow_upward", "Earlier", partial(self._move, -1), f"up-{job.id}")
                icon_button("arrow_downward", "Later", partial(self._move, 1), f"down-{job.id}")
            if job.run is not None and (job.run / RECIPE).is_file() and job.run.parent == self._studio.runs:
                go = partial(ui.navigate.to, f"/gallery?run={quote(job.run.name)}")
                icon_button("open_in_full", "Look at it in the gallery", go, f"open-{job.id}")
            if self._edit is not None:
                icon_button("edit", "Edit", self._edit, f"edit-{job.id}")
            draw_acts(self._studio.queue, job, self._changed)

    def _draw_thumb(self, job: Job) -> None:
        picture = job.progress.get("preview", "") if job.has_worker else ""
        found = Path(picture) if picture else (thumbnail_of(job.run) if job.run else None)
        source = url_of(self._studio, found) if found else ""
        if source == self._source and self._thumb.default_slot.children:
            return
        self._source = source
        self._thumb.clear()
        with self._thumb:
            draw_thumbnail(source)


def draw_thumbnail(source: str) -> None:
    """A small picture of a picture or a clip; an icon where there is none."""
    if not source:
        ui.icon("movie")
    elif source.partition("?")[0].endswith(".mp4"):
        clip = ui.element("video").props('muted loop playsinline preload="metadata" tabindex="-1"')
        clip.props["src"] = source
        clip.on("mouseenter", js_handler="(event) => event.target.play()")
        clip.on("mouseleave", js_handler="(event) => event.target.pause()")
    else:
        picture = ui.element("img").props('alt="" loading="lazy"')
        picture.props["src"] = source


def _about(job: Job) -> str:
    """What is asked for, in a line."""
    said = [
        f"{name.removeprefix('num_')} {job.order.values[name]}" for name in _TOLD if name in job.order.values
    ]
    added = f"added {datetime.fromtimestamp(job.created):%d %b %H:%M}"
    return " · ".join(filter(None, (job.order.workflow, job.order.family, *said, added)))


def _line(job: Job) -> str:
    done = job.progress
    if job.state == "failed":
        return job.message
    if job.is_final and job.started and job.ended:
        return f"took {duration(job.ended - job.started)}"
    if not job.has_worker and not done:
        return job.message
    steps = f"{done.get('step', 0)} of {done['total']}" if done.get("total") else ""
    pace = f"{done['seconds']:.2g} s/it" if done.get("seconds") is not None else ""
    clips = f"clip {done['clip']} of {done['clips']} done" if done.get("clips", 1) > 1 else ""
    held = "holds all in memory" if job.holds else ""
    return " · ".join(filter(None, (str(done.get("stage", "")), steps, pace, clips, held, job.message)))
