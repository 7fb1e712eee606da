"""The frame around every page: where one can go, how much is at work, light or dark.

Pages are laid out with the `rw-` classes of style/studio.css, which alone decides colors and spacing. There
is no Tailwind: it would cost a second in the browser.
"""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from nicegui import ui

from reelwright.web.pages.desk import Desk
from reelwright.web.pages.elements import block, heading, icon_button, named, reached_by, words
from reelwright.web.studio import Studio

_BUSY = ("queued", "running", "paused")
_POLL_SECONDS = 1.0
_NEXT_LOOK: dict[bool | None, bool | None] = {None: True, True: False, False: None}
_LOOKS: dict[bool | None, tuple[str, str]] = {
    None: ("brightness_auto", "Colors: as the browser"),
    True: ("dark_mode", "Colors: dark"),
    False: ("light_mode", "Colors: light"),
}
_MARK = """<svg viewBox="0 0 32 32" aria-hidden="true">
<rect width="32" height="32" rx="8" fill="var(--accent)"/>
<g fill="none" stroke="var(--on-accent)" stroke-width="2.4"><circle cx="16" cy="16" r="8.6"/>
<path d="M16 7.4v5M16 19.6v5M7.4 16h5M19.6 16h5"/></g>
<circle cx="16" cy="16" r="2.2" fill="var(--on-accent)"/></svg>"""


@dataclass(frozen=True, kw_only=True)
class Place:
    """One entry of the navigation."""

    name: str
    path: str
    icon: str
    key: str
    """With Alt, it goes there."""


PLACES = (
    Place(name="Generate", path="/", icon="auto_awesome", key="1"),
    Place(name="Storyboard", path="/storyboard", icon="view_timeline", key="2"),
    Place(name="Queue", path="/queue", icon="playlist_play", key="3"),
    Place(name="Gallery", path="/gallery", icon="grid_view", key="4"),
    Place(name="Train", path="/train", icon="show_chart", key="5"),
    Place(name="Models", path="/models", icon="inventory_2", key="6"),
)


@contextmanager
def frame(studio: Studio, desk: Desk, current: str, about: str = "") -> Generator[ui.element]:
    """The page named `current`; what is made within stands in its main part, under its title."""
    ui.page_title(f"{current} · Reelwright")
    look = ui.dark_mode(desk.dark)
    with block("rw-rail", tag="nav", name="navigation") as rail:
        rail.props["aria-label"] = "Pages"
        with ui.link(target="/").classes("rw-brand"):
            ui.html(_MARK, sanitize=False)
            words("Reelwright")
        _draw_places(studio, current)
        with block("rw-rail-foot"):
            _draw_look(desk, look)
    with block("rw-main", tag="main", name="main") as main, block("rw-stack loose") as stack:
        with block("rw-title", tag="header"), block(""):
            heading(1, current)
            if about:
                words(about, tag="p")
        yield stack
    ui.skip_link(target=main)


def _draw_places(studio: Studio, current: str) -> None:
    with block("rw-nav"):
        for place in PLACES:
            link = ui.link(target=place.path)
            reached_by(link, place.key)
            link.props["title"] = f"{place.name} (Alt+{place.key})"
            if place.name == current:
                link.props["aria-current"] = "page"
            with named(link, f"go-{place.name.lower()}"):
                ui.icon(place.icon)
                words(place.name, tag="span")
                if place.name == "Queue":
                    _draw_count(studio)


def _draw_count(studio: Studio) -> None:
    """How many jobs wait or run, kept up to date."""
    count = named(words("", "rw-count", tag="span"), "queue-count")
    seen: dict[str, Any] = {}

    def refresh() -> None:
        revision = studio.queue.revision()
        if seen.get("revision") != revision:
            seen["revision"] = revision
            waiting = len(studio.queue.list(_BUSY))
            count.set_text(str(waiting))
            count.set_visibility(waiting > 0)

    refresh()
    ui.timer(_POLL_SECONDS, refresh)


def _draw_look(desk: Desk, look: ui.dark_mode) -> None:
    def change() -> None:
        desk.dark = _NEXT_LOOK[desk.dark]
        desk.keep()
        look.set_value(desk.dark)
        show()

    def show() -> None:
        icon, label = _LOOKS[desk.dark]
        press.props["icon"], press.props["aria-label"] = icon, f"{label}. Press to change."
        said.set_text(label)

    with block("rw-row tight still"):
        press = icon_button("brightness_auto", "Light or dark", change, "look")
        said = words("", "rw-muted rw-tiny")
    show()
