"""Where one is on a page of runs: something new, or one of the runs."""

import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

from nicegui import ui

from reelwright.web.pages.elements import block, named

_NEW = ""


def draw_run_picker(page: str, new: str, runs: Sequence[str], current: str) -> None:
    """A choice that leads to `page`, or to `page?run=NAME`."""
    choices = {_NEW: new, **{name: name for name in runs}}

    def go(name: str | None) -> None:
        ui.navigate.to(f"{page}?run={quote(name)}" if name else page)

    with block("rw-row"):
        chosen = ui.select(
            choices, value=current if current in choices else _NEW, on_change=lambda event: go(event.value)
        )
        named(chosen.props("outlined dense options-dense").classes("st-runs"), "run-picker")
        chosen.props["aria-label"] = f"{new}, or a run"


def new_run_folder(runs: Path, name: str) -> Path:
    """A run folder that is not there yet, named after the time."""
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:60] or "run"
    stem = f"{datetime.now():%Y%m%d-%H%M%S}_{readable}"
    names = (stem, *(f"{stem}-{number}" for number in range(2, 1000)))
    return next(runs / each for each in names if not (runs / each).exists())
