"""Settings that come back: out of a finished file or a run, into the form of Generate."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nicegui import ui

from reelwright import families
from reelwright.jobs.order import Order
from reelwright.web.pages.asking import last_event
from reelwright.web.pages.desk import Desk
from reelwright.web.pages.elements import tell
from reelwright.web.settings import Settings
from reelwright.web.studio import Studio


async def restore_file(studio: Studio, path: str) -> tuple[str, dict[str, Any]] | None:
    """The family and settings that the record in a file tells; where there is none, say so."""
    answer = await last_event(studio, Order(workflow="record", options={"file": path}))
    if answer is None:
        return None
    told: dict[str, str] = answer["facts"]
    if told["workflow"] != "generate" or told["family"] not in families.names():
        tell(
            f"The file was made by {told['workflow']} of {told['family']}, which this page cannot do.",
            "negative",
        )
        return None
    return told["family"], json.loads(told["config"])


async def keep_last_frame(studio: Studio, clip: Path) -> str:
    """A picture of the last frame of a clip, beside it; empty where it cannot be had, which is said."""
    picture = clip.with_name(f"last-frame_{clip.stem}.png")
    if picture.is_file() and picture.stat().st_mtime > clip.stat().st_mtime:
        return str(picture)
    options = {"file": str(clip), "picture": str(picture)}
    answer = await last_event(studio, Order(workflow="last_frame", options=options))
    return "" if answer is None else str(answer["path"])


def fill_generate(desk: Desk, family: str, values: Mapping[str, Any]) -> None:
    """Put settings into the form and go there."""
    desk.family = family
    desk.drafts[family] = Settings(families.configs(family).GENERATE, values).values
    desk.job = ""
    desk.keep()
    ui.navigate.to("/")
