"""One run: its clips, how it was made, and what one can go on to make from it."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from nicegui import ui

from reelwright import families
from reelwright.core.sizes import size_text
from reelwright.web.following import duration
from reelwright.web.gallery import RunCard
from reelwright.web.pages.desk import Desk
from reelwright.web.pages.elements import block, button, facts, heading, named, words
from reelwright.web.pages.files import url_of
from reelwright.web.pages.restoring import fill_generate, keep_last_frame
from reelwright.web.settings import Settings
from reelwright.web.studio import Studio

RUN_STATES = {"done": "Done", "failed": "Failed", "stopped": "Stopped", "unfinished": "Not finished"}
_EXTEND, _FIRST, _PICTURES = "extend", "image", ("image", "end_image", "video", "strength", "story")


def draw_run(studio: Studio, desk: Desk, card: RunCard) -> None:
    """All that a run folder tells."""
    with block("rw-row rw-spread"):
        button("All runs", lambda: ui.navigate.to("/gallery"), "back", look="ghost", icon="arrow_back")
        _draw_acts(studio, desk, card)
    with block("rw-split"):
        with block("rw-stack"):
            draw_clips(studio, card)
            _draw_files(studio, card)
        with block("rw-stack", tag="aside"):
            with block("rw-card rw-stack tight"):
                words(RUN_STATES[card.state], f"rw-state {card.state}")
                named(words(card.title, "rw-strong"), "run-title")
                if card.message:
                    words(card.message, "rw-alert")
                facts(_told(card))
            with block("rw-card rw-stack"):
                heading(2, "Settings")
                named(facts(changed_settings(card), classes="settings"), "run-settings")
            with block("rw-card"), ui.expansion("All settings"):
                facts(all_settings(card))


def draw_clips(studio: Studio, card: RunCard) -> None:
    """Every clip of a run, to be played; without one, the picture that stands for it."""
    for clip in card.clips:
        with block("rw-frame"):
            draw_player(url_of(studio, clip), "run-video")
    if not card.clips and card.thumbnail is not None:
        with block("rw-frame"):
            ui.element("img").props('alt="What the run made"').props["src"] = url_of(studio, card.thumbnail)


def draw_player(source: str, name: str) -> ui.element:
    """A clip with its controls."""
    player = named(ui.element("video").props("controls loop muted playsinline preload=auto"), name)
    player.props["src"] = source
    return player


def all_settings(card: RunCard) -> dict[str, str]:
    """Every setting by its dotted name, as the recipe has it."""
    return dict(_flat(card.settings))


def changed_settings(card: RunCard) -> dict[str, str]:
    """Those that differ from the defaults; of families that are gone, all."""
    if card.family not in families.names():
        return all_settings(card)
    settings = Settings(families.configs(card.family).GENERATE, card.settings)
    return dict(_flat({name: value for name, value in settings.values.items() if name not in ("out", "run")}))


def _flat(values: Mapping[str, Any], start: str = "") -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for name, value in values.items():
        inner: dict[str, Any] | None = value if isinstance(value, dict) else None
        found += [(start + name, str(value))] if inner is None else _flat(inner, f"{start}{name}.")
    return found


def _told(card: RunCard) -> dict[str, str]:
    told = {
        "Run": card.folder.name,
        "Family": card.family,
        "When": f"{datetime.fromtimestamp(card.changed):%c}",
    }
    if card.seconds:
        told["Took"] = duration(card.seconds)
    if card.peak_memory:
        told["Peak memory"] = size_text(card.peak_memory)
    return told


def _draw_acts(studio: Studio, desk: Desk, card: RunCard) -> None:
    """What one can go on to; only what the family's schema has a field for."""
    if card.family not in families.names():
        return
    known = Settings(families.configs(card.family).GENERATE).facts

    async def start_from_last_frame() -> None:
        picture = await keep_last_frame(studio, card.clips[0])
        if picture:
            fill_generate(desk, card.family, _from_here(card, **{_FIRST: picture}))

    with block("rw-row"):
        if getattr(families.configs(card.family), "STORY", None) is not None:
            sections = f"/storyboard?run={quote(card.folder.name)}"
            button("Sections", lambda: ui.navigate.to(sections), "sections", icon="view_timeline")
        if card.clips and _EXTEND in known:
            extended = _from_here(card, **{_EXTEND: str(card.clips[0])})
            button("Extend", lambda: fill_generate(desk, card.family, extended), "extend", icon="last_page")
        if card.clips and _FIRST in known:
            button("Last frame as new start", start_from_last_frame, "last-frame", icon="photo_camera_back")
        button(
            "Use these settings",
            lambda: fill_generate(desk, card.family, card.settings),
            "use-settings",
            look="primary",
            icon="tune",
        )


def _from_here(card: RunCard, **begin: str) -> dict[str, Any]:
    """The settings of a run, but for what it began with and its seed, for a clip that begins otherwise."""
    kept = {name: value for name, value in card.settings.items() if name not in (*_PICTURES, "seed", _EXTEND)}
    return {**kept, **begin}


def _draw_files(studio: Studio, card: RunCard) -> None:
    """Every finished file, to be opened or saved."""
    sheets = sorted(card.folder.glob("clip-*.sheet.png"))
    with block("rw-card rw-stack tight", name="run-files"):
        heading(2, "Files")
        for path in (*card.clips, *card.latents, *sheets, *_pictures(card)):
            with block("rw-row rw-spread still rw-small"):
                named(ui.link(path.name, url_of(studio, path)).classes("rw-cut"), f"file-{path.name}")
                words(size_text(path.stat().st_size), "rw-muted")


def _pictures(card: RunCard) -> list[Path]:
    return [picture for folder in card.frames for picture in sorted(folder.glob("*.png"))[:1]]
