"""The studio's pages: one module each, drawn from schemas, fed by the queue and by run folders."""

from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from fastapi import FastAPI

from reelwright.web.pages.desk import Desk
from reelwright.web.studio import Studio

_MODULES = {
    "/": "generate",
    "/storyboard": "storyboard",
    "/queue": "queue",
    "/gallery": "gallery",
    "/train": "train",
    "/models": "models",
}
"""Path -> the module whose `build(studio, desk)` draws the page."""
_STYLES = Path(__file__).parent / "style"
_ICON = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="8"
fill="#c2410c"/><g fill="none" stroke="#fff" stroke-width="2.4"><circle cx="16" cy="16" r="8.6"/>
<path d="M16 7.4v5M16 19.6v5M7.4 16h5M19.6 16h5"/></g><circle cx="16" cy="16" r="2.2" fill="#fff"/></svg>"""
_PATIENCE = 30.0
"""Seconds that a page waits for a studio whose machine is busy with videos before it calls it lost."""


class Page(Protocol):
    """A module of this folder."""

    build: Callable[[Studio, Desk], None]


def add_pages(app: FastAPI, studio: Studio) -> None:
    """Mount the pages on an application, after all its other routes: they take what is left.

    NiceGUI is one to a process, so a process has one studio with pages.
    """
    from nicegui import ui  # noqa: PLC0415 - REST alone comes up without it

    from reelwright.web.pages.files import mount_files  # noqa: PLC0415

    mount_files(app, studio)
    desk = Desk.open(studio.queue.folder)
    studio.drafts = lambda: str(desk.drafts)
    for path, module in _MODULES.items():
        page = cast(Page, import_module(f"{__name__}.{module}"))
        ui.page(path)(partial(page.build, studio, desk))
    style = "\n".join(path.read_text(encoding="utf-8") for path in sorted(_STYLES.glob("*.css")))
    keys = (_STYLES / "keys.js").read_text(encoding="utf-8")
    ui.add_head_html(f"<style>{style}</style><script>{keys}</script>", shared=True)
    ui.run_with(
        app,
        title="Reelwright",
        favicon=_ICON,
        language="en-US",
        dark=None,
        tailwind=False,
        reconnect_timeout=_PATIENCE,
        show_welcome_message=False,
    )
