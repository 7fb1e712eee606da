"""One job from its place in the queue to the finished clip, kept up to date while one looks."""

from functools import partial
from pathlib import Path
from urllib.parse import quote

from nicegui import ui

from reelwright.core.sizes import size_text
from reelwright.jobs.queue import Job, UnknownJobError
from reelwright.web.following import Progress, duration, follow
from reelwright.web.pages.elements import block, icon_button, named, words
from reelwright.web.pages.files import url_of
from reelwright.web.pages.job_acts import draw_acts, state_text
from reelwright.web.run_jobs import job_of_run
from reelwright.web.studio import Studio

_POLL_SECONDS = 0.5
_CLIPS = (".mp4", ".webm")


class JobCard:
    """Follows one job at a time, from events that are numbered: nothing is lost while nobody looks."""

    def __init__(self, studio: Studio) -> None:
        self._studio, self._job, self._progress, self._revision = studio, "", Progress(), -1
        self._shown, self._offered = ("", False), ("", "", "")
        with block("rw-card rw-stack", name="job") as self._card:
            with block("rw-row rw-spread still"):
                self._title = named(words("", "rw-strong rw-cut rw-grow"), "job-title")
                self._state = named(words("", "rw-state"), "job-state")
            self._frame = named(ui.element("div").classes("rw-frame"), "job-frame")
            with block("rw-stack tight") as self._steps:
                self._bar = named(ui.linear_progress(0, show_value=False, size="6px", color=None), "job-bar")
                self._bar.props["aria-label"] = "Progress"
                self._line = named(words("", "rw-small rw-muted"), "job-line")
            self._trouble = named(words("", "rw-alert"), "job-error")
            self._acts = block("rw-row tight")
        self._card.set_visibility(False)
        ui.timer(_POLL_SECONDS, self._poll)

    def show(self, job: str) -> None:
        """Follow this job from its first event on."""
        self._job, self._progress, self._revision, self._shown = job, Progress(), -1, ("", False)
        self._frame.clear()
        self._poll()

    def show_run(self, run: Path) -> Job | None:
        """Follow the job that works, or worked last, in a run folder, and return it, if there is one."""
        job = job_of_run(self._studio.queue, run)
        if job is not None and job.id != self._job:
            self.show(job.id)
        return job

    def reveal(self) -> None:
        """Bring it into sight, where it is below the edge of a small screen."""
        ui.run_javascript(
            f"getHtmlElement({self._card.id}).scrollIntoView({{behavior: 'smooth', block: 'nearest'}})"
        )

    def _poll(self) -> None:
        if not self._job:
            return
        try:
            new = self._studio.queue.events(self._job, self._progress.last)
            revision = self._studio.queue.revision()
            if not new and revision == self._revision:
                return
            job = self._studio.queue.get(self._job)
        except UnknownJobError:
            self._job = ""
            self._card.set_visibility(False)
            return
        self._progress, self._revision = follow(self._progress, new), revision
        self._draw(job)

    def _draw(self, job: Job) -> None:
        self._card.set_visibility(True)
        self._title.set_text(job.title)
        self._state.set_text(state_text(job))
        self._state.classes(replace=f"rw-state {job.state}")
        self._bar.set_value(self._progress.share)
        self._line.set_text(progress_line(job, self._progress))
        self._bar.set_visibility(not job.is_final)
        self._steps.set_visibility(job.state in ("running", "paused", "done", "queued"))
        trouble = (self._progress.error or job.message) if job.state == "failed" else ""
        self._trouble.set_text(trouble)
        self._trouble.set_visibility(bool(trouble))
        self._draw_frame(job)
        self._draw_acts(job)

    def _draw_acts(self, job: Job) -> None:
        """What can be done, drawn anew only where it is something else: what is being pressed stays."""
        offered = job.id, job.state, job.wish
        if offered == self._offered:
            return
        self._offered = offered
        self._acts.clear()
        with self._acts:
            if job.is_final and job.run is not None and job.run.parent == self._studio.runs:
                go = partial(ui.navigate.to, f"/gallery?run={quote(job.run.name)}")
                icon_button("open_in_full", "Look at it in the gallery", go, f"open-{job.id}")
            draw_acts(self._studio.queue, job, self._poll)

    def _draw_frame(self, job: Job) -> None:
        """The finished clip, else the newest preview."""
        path = seen(self._progress)
        source = url_of(self._studio, path) if path else ""
        self._frame.set_visibility(bool(source) or not job.is_final)
        shown = source, job.state == "done"
        if shown == self._shown and source:
            return
        self._shown = shown
        self._frame.clear()
        with self._frame:
            if not source:
                ui.icon("movie")
            else:
                show_file(source, path, is_final=job.state == "done")


def seen(progress: Progress) -> str:
    """The file to look at: the last finished clip, else the newest preview."""
    finished = progress.files[-1] if progress.files else {}
    return finished.get("video") or finished.get("contact_sheet") or progress.preview


def show_file(source: str, path: str, *, is_final: bool = False) -> ui.element:
    """A picture or a clip; only the finished one can be stopped and heard."""
    if Path(path).suffix in _CLIPS:
        controls = "controls" if is_final else ""
        clip = ui.element("video").props(f"muted loop autoplay playsinline {controls}")
        clip.props["src"] = source
        return named(clip, "job-video" if is_final else "job-preview")
    picture = ui.element("img").props('alt="Rough preview"')
    picture.props["src"] = source
    return named(picture, "job-preview")


def progress_line(job: Job, progress: Progress) -> str:
    """Stage, step, pace, what is left and memory, as far as they are known."""
    memory = f"peak {size_text(progress.peak_memory)}" if progress.peak_memory else ""
    if job.state == "queued":
        return "Waits for its turn."
    if job.state == "done":
        return " · ".join(filter(None, (f"took {duration(progress.seconds)}", memory)))
    parts = [progress.stage]
    if progress.total:
        parts.append(f"{progress.step} of {progress.total}")
    if progress.seconds_per_step is not None:
        parts.append(f"{progress.seconds_per_step:.2g} s/it")
    if job.state == "running" and progress.seconds_left:
        parts.append(f"{duration(progress.seconds_left)} left")
    return " · ".join(filter(None, (*parts, memory)))
