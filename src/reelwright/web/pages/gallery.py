"""Gallery: the runs as cards; one of them with all its settings; two of them side by side."""

from functools import partial
from urllib.parse import quote, urlencode

from nicegui import run as background
from nicegui import ui

from reelwright.web.gallery import RunCard, list_runs, read_run_card
from reelwright.web.pages.compare import draw_comparison
from reelwright.web.pages.desk import Desk
from reelwright.web.pages.drop import DropPlace
from reelwright.web.pages.elements import block, button, named, nothing_here, tell, words
from reelwright.web.pages.files import url_of
from reelwright.web.pages.queue_row import draw_thumbnail
from reelwright.web.pages.restoring import fill_generate, restore_file
from reelwright.web.pages.run_view import RUN_STATES, draw_run
from reelwright.web.pages.shell import frame
from reelwright.web.studio import Studio

NAME = "Gallery"
_POLL_SECONDS = 3.0
_PAGE_SIZE = 60
_SHOWN = ("generate", "redo")


def build(studio: Studio, desk: Desk, run: str = "", beside: str = "") -> None:
    """Draw all runs; or the one named `run`; or that one `beside` another."""
    found = [read_run_card(studio.runs / name) for name in (run, beside) if _is_name(name)]
    cards = [card for card in found if card is not None]
    with frame(studio, desk, NAME, "All that was made, and how."):
        if run and not cards:
            tell(f"There is no run {run[:80]}.", "negative")
        if len(cards) == 2:
            draw_comparison(studio, cards[0], cards[1])
        elif cards:
            draw_run(studio, desk, cards[0])
        else:
            _Page(studio, desk)


def _is_name(name: str) -> bool:
    return bool(name) and "/" not in name and "\\" not in name and not name.startswith(".")


class _Page:
    """One visit to all runs: what is searched for, and which are picked to be compared."""

    def __init__(self, studio: Studio, desk: Desk) -> None:
        self._studio, self._desk = studio, desk
        self._search, self._most = "", _PAGE_SIZE
        self._picked: list[str] = []
        self._runs: list[RunCard] = []
        self._drawn: object = None
        with block("rw-row rw-spread"):
            search = ui.input(placeholder="Search prompts", on_change=lambda event: self._look(event.value))
            named(search, "search").props("outlined dense clearable debounce=250").classes("rw-grow")
            search.props["aria-label"] = "Search prompts"
            self._compare = button("Compare", self._go_compare, "compare", icon="compare")
        place = DropPlace(
            studio, "restore", "Drop a finished file here: its settings come back", self._restore
        )
        place.show("")
        place.slim()
        self._place = block("rw-stack", name="runs")
        self._mark()
        ui.timer(_POLL_SECONDS, self._refresh, immediate=True)

    async def _refresh(self) -> None:
        runs = await background.io_bound(list_runs, self._studio.runs)
        if not self._place.is_deleted:
            self._runs = [card for card in runs or [] if card.workflow in _SHOWN]
            self._draw()

    def _draw(self) -> None:
        """Draw the cards, where there are others than before."""
        wanted = [card for card in self._runs if self._search in card.title.lower()]
        shown = [(card.folder, card.changed) for card in wanted], self._most
        if shown == self._drawn:
            return
        self._drawn = shown
        self._place.clear()
        with self._place:
            if not wanted:
                text = "Nothing is called so." if self._search else "What you generate is kept here."
                nothing_here("grid_view", text, "gallery-empty")
            with block("rw-grid"):
                for card in wanted[: self._most]:
                    self._draw_card(card)
            if len(wanted) > self._most:
                button(f"Show {len(wanted) - self._most} more", self._show_more, "more", look="ghost")

    def _draw_card(self, card: RunCard) -> None:
        name = card.folder.name
        with named(ui.element("article").classes("rw-run"), f"run-{name}"):
            pick = ui.checkbox(value=name in self._picked, on_change=partial(self._pick, name))
            named(pick.classes("pick").props("dense dark size=sm"), f"pick-{name}")
            pick.props["aria-label"] = f"Pick to compare: {card.title}"
            with ui.link(target=f"/gallery?run={quote(name)}").classes("open") as link:
                named(link, f"open-{name}")
                with block("rw-frame"):
                    draw_thumbnail(url_of(self._studio, card.thumbnail) if card.thumbnail else "")
                with block("body"):
                    words(card.title, "rw-strong rw-clamp")
                    with block("rw-row rw-spread rw-tiny rw-muted"):
                        words(_about(card))
                        words(RUN_STATES[card.state], f"rw-state {card.state}")

    def _pick(self, name: str) -> None:
        if name in self._picked:
            self._picked.remove(name)
        else:
            self._picked.append(name)
        self._mark()

    def _mark(self) -> None:
        self._compare.set_enabled(len(self._picked) == 2)
        self._compare.set_text("Compare" if self._picked else "Pick two to compare")

    def _go_compare(self) -> None:
        first, second = self._picked
        ui.navigate.to(f"/gallery?{urlencode({'run': first, 'beside': second})}")

    def _look(self, text: str | None) -> None:
        self._search, self._most = (text or "").strip().lower(), _PAGE_SIZE
        self._draw()

    def _show_more(self) -> None:
        self._most += _PAGE_SIZE
        self._draw()

    async def _restore(self, path: str) -> None:
        restored = await restore_file(self._studio, path)
        if restored is not None:
            fill_generate(self._desk, *restored)


def _about(card: RunCard) -> str:
    said = card.settings
    size = f"{said['width']} × {said['height']}" if said.get("width") and said.get("height") else ""
    return " · ".join(filter(None, (card.family, str(said.get("model", "")), size)))
