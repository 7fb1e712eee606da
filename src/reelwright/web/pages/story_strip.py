"""The time of a video as a strip: a piece for each part or section, as wide as it is long."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from nicegui import ui

from reelwright.web.pages.elements import block, named, words

Mark = Literal["", "waiting", "running", "done"]


@dataclass(frozen=True, kw_only=True)
class Span:
    """A piece of the video."""

    start: float
    seconds: float
    sections: int = 1
    mark: Mark = ""
    """How far it is made."""


def draw_strip(spans: Sequence[Span], targets: Sequence[str]) -> None:
    """The strip with the length of the whole. A piece leads to the card of the name in `targets`."""
    total = sum(span.seconds for span in spans)
    with block("st-time", name="story-strip"):
        with block("st-strip"):
            for at, (span, target) in enumerate(zip(spans, targets, strict=True), start=1):
                _draw_piece(at, span, target)
        words(seconds_text(total), "rw-strong rw-small st-total")


def seconds_text(seconds: float) -> str:
    """A place in the video or a length, to a tenth: 2.4 s, 1:05.0."""
    tenths = round(seconds * 10)
    if tenths >= 600:
        return f"{tenths // 600}:{tenths % 600 / 10:04.1f}"
    return f"{tenths / 10:g} s"


def _draw_piece(at: int, span: Span, target: str) -> None:
    piece = ui.element("button").classes(f"st-piece {span.mark}").style(f"flex-grow: {span.seconds:.4f}")
    piece.props["type"] = "button"
    piece.props["aria-label"] = f"Part {at}, {seconds_text(span.seconds)}"
    there = f"document.querySelector('[data-testid=\"{target}\"]')?.scrollIntoView"
    piece.on("click", js_handler=f"() => {there}({{behavior: 'smooth', block: 'center'}})")
    with named(piece, f"piece-{at}"):
        words(str(at), tag="span")
