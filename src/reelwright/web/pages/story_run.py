"""A video of sections while it is made and after: how it grows, what each section shows, and another try."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from nicegui import ui

from reelwright import families
from reelwright.core.errors import UserError
from reelwright.jobs.order import order_of
from reelwright.jobs.queue import Job
from reelwright.jobs.stored_runs import StoredRun, free_branch, read_run
from reelwright.protocols.storyboards import StorySchema
from reelwright.web.pages.elements import block, button, heading, named, nothing_here, tell, words
from reelwright.web.pages.files import url_of
from reelwright.web.pages.job_card import JobCard, show_file
from reelwright.web.pages.story_strip import Mark, Span, draw_strip, seconds_text
from reelwright.web.run_sections import RunSection, finished_clip, grown_preview, read_sections
from reelwright.web.storyboards import count_sections, find_storyboard
from reelwright.web.studio import Studio

_LOOK_SECONDS = 0.7
STORY_FOLDER = "story"
"""In the run folder of a video that was made of a storyboard."""


class StoryRun:
    """One run of a family with sections."""

    def __init__(self, studio: Studio, run: Path, schema: StorySchema) -> None:
        self._studio, self._run, self._schema = studio, run, schema
        self._shown: object = None
        with block("rw-split st-run", name="story-run"):
            with block("rw-stack"):
                self._strip = ui.element("div")
                self._cards = named(ui.element("div").classes("st-cards small"), "story-sections")
            with block("rw-stack rw-side", tag="aside"):
                self._card = JobCard(studio)
                self._finished = ui.element("div")
                self._draw_ways()
        self.refresh()
        ui.timer(_LOOK_SECONDS, self.refresh)

    def refresh(self) -> None:
        """Show what has changed in the run folder and in the queue."""
        job = self._card.show_run(self._run)
        sections = read_sections(self._run)
        total = self._num_sections(sections)
        now = (sections, total, job.state if job else "")
        if now != self._shown:
            self._shown = now
            self._draw_sections(sections, total, job)
            if job is None:
                self._draw_finished()

    def _draw_ways(self) -> None:
        """What else can be done with the run."""
        if (self._run / STORY_FOLDER).is_dir():
            again = partial(ui.navigate.to, f"/storyboard?again={self._run.name}")
            button("Use as a new storyboard", again, "story-again", icon="edit_note")

    def _draw_finished(self) -> None:
        """The clip of a run that no job of the queue has made."""
        path = finished_clip(self._run) or grown_preview(self._run)
        self._finished.clear()
        if path is not None:
            with self._finished, block("rw-card rw-stack"), block("rw-frame"):
                show_file(url_of(self._studio, path), str(path), is_final=True)

    def _draw_sections(self, sections: Mapping[int, RunSection], total: int, job: Job | None) -> None:
        seconds = self._section_seconds()
        is_made_now = job is not None and job.state in ("running", "paused", "queued")
        spans = [
            Span(start=index * seconds, seconds=seconds, mark=_mark(index in sections, is_made_now))
            for index in range(total)
        ]
        self._strip.clear()
        with self._strip:
            draw_strip(spans, [f"section-{index}" for index in range(total)])
        self._cards.clear()
        with self._cards:
            for index, span in enumerate(spans):
                self._draw_section(index, span, sections, may_redo=not is_made_now)
            if not total:
                nothing_here("view_timeline", "Sections appear here as they are made.", "no-sections")

    def _draw_section(
        self, index: int, span: Span, sections: Mapping[int, RunSection], *, may_redo: bool
    ) -> None:
        section = sections.get(index)
        with block(f"st-card {span.mark}", tag="section", name=f"section-{index}") as card:
            card.props["aria-label"] = f"Section {index + 1}"
            with block("rw-row still rw-spread"):
                words(str(index + 1), "st-number")
                words(
                    f"{seconds_text(span.start)} to {seconds_text(span.start + span.seconds)}",
                    "rw-muted rw-tiny",
                )
            with block("rw-frame"):
                url = url_of(self._studio, section.clip) if section and section.clip else ""
                if url:
                    _draw_part(url)
                else:
                    ui.icon("hourglass_empty")
            if section is None:
                words("not made yet", "rw-muted rw-small")
                return
            named(words(section.prompt or "(no prompt)", "rw-small rw-clamp"), f"shown-prompt-{index}")
            with block("rw-row still rw-spread"):
                words(f"seed {section.seed}" if section.seed is not None else "", "rw-muted rw-tiny")
                again = partial(self._ask_again, section, sections)
                press = button("Make again", again, f"redo-{index}", look="ghost", icon="refresh")
                press.set_enabled(may_redo)

    def _ask_again(self, section: RunSection, sections: Mapping[int, RunSection]) -> None:
        RedoDialog(self._studio, self._run, section, section.made_again_with(sections.values())).open()

    def _num_sections(self, sections: Mapping[int, RunSection]) -> int:
        if sections:
            return next(iter(sections.values())).total
        board = find_storyboard(self._run / STORY_FOLDER, self._schema)
        config = self._config()
        return sum(count_sections(board, self._schema, config)) if board and config else 0

    def _section_seconds(self) -> float:
        config = self._config()
        return self._schema.section_seconds(config) if config is not None else 1.0

    def _config(self) -> object | None:
        try:
            return read_run(self._run).config
        except UserError:  # the worker has not begun yet
            return None


class RedoDialog:
    """Asks what a section is to show now, and orders it."""

    def __init__(self, studio: Studio, run: Path, section: RunSection, others: tuple[int, ...]) -> None:
        self._studio, self._run, self._section = studio, run, section
        with (
            ui.dialog() as self._dialog,
            ui.card().classes("rw-stack"),
            block("rw-stack", name="redo-dialog"),
        ):
            heading(2, f"Make section {section.index + 1} again")
            words(_others_too(others), "rw-muted rw-small")
            self._prompt = named(ui.textarea("Prompt", value=section.prompt), "redo-prompt")
            self._prompt.props("outlined autogrow")
            self._seed = named(ui.input("Seed", placeholder="drawn anew"), "redo-seed")
            self._seed.props("outlined dense inputmode=numeric")
            words("Empty draws one; -1 takes the noise of the run.", "rw-muted rw-tiny")
            choices = {True: "In a new run; this one stays as it is", False: "In this run"}
            self._branch = named(ui.radio(choices, value=True), "redo-branch")
            with block("rw-row"):
                button("Make it again", self._order, "redo-start", look="primary")
                button("Leave it", self._dialog.close, "redo-leave", look="ghost")

    def open(self) -> None:
        self._dialog.open()

    def _order(self) -> None:
        try:
            run = self._queue_it(read_run(self._run))
        except UserError as error:
            tell(str(error), "negative")
            return
        self._dialog.close()
        ui.navigate.to(f"/storyboard?run={run.name}")

    def _queue_it(self, stored: StoredRun) -> Path:
        """Order the section; the run folder where it will be."""
        prompt = str(self._prompt.value or "")
        branch = free_branch(self._run) if self._branch.value else None
        asked = {
            "family": stored.family,
            "config": stored.config,
            "section": self._section.index,
            "prompt": None if prompt == self._section.prompt else prompt,
            "seed": _seed(str(self._seed.value or "")),
            "branch": branch,
        }
        title = f"Section {self._section.index + 1}: {prompt}"
        self._studio.queue.add(order_of("redo", asked), title=title, run=branch or self._run)
        return branch or self._run


def _draw_part(url: str) -> None:
    """A section's own frames, which move while one points at them: all at once would wear out a computer."""
    clip = ui.element("video").props("muted loop playsinline preload=auto tabindex=0")
    clip.props["src"] = url
    for event, act in {"mouseenter": "play", "focus": "play", "mouseleave": "pause", "blur": "pause"}.items():
        clip.on(event, js_handler=f"(event) => event.target.{act}()")


def runs_with_sections(studio: Studio) -> list[Path]:
    """Runs of families that know storyboards, the newest first."""
    folders = {path.parent.parent for path in studio.runs.glob("*/sections/clip-001")}
    queued = {job.run for job in studio.queue.list() if job.run and _has_story(job)}
    return sorted(folders | queued, key=lambda path: path.name, reverse=True)


def _has_story(job: Job) -> bool:
    is_video = job.order.workflow in ("generate", "redo") and job.order.family in families.names()
    return is_video and hasattr(families.configs(job.order.family), "STORY")


def _mark(is_made: bool, is_at_work: bool) -> Mark:
    if is_made:
        return "done"
    return "running" if is_at_work else "waiting"


def _others_too(others: tuple[int, ...]) -> str:
    if not others:
        return "No other section saw it: the others stay as they are."
    numbers = ", ".join(str(index + 1) for index in others)
    return f"Sections that saw it are made again too: {numbers}. The others stay as they are."


def _seed(text: str) -> int | None:
    """What was typed as a seed; text that is none is left to the schema's refusal."""
    text = text.strip()
    return int(text) if text.lstrip("-").isdecimal() else (text or None)  # pyright: ignore[reportReturnType]
