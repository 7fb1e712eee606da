"""Sizes and lengths to choose from: the legal ones of the model at hand, as shapes and seconds."""

from collections.abc import Callable
from typing import Any

from nicegui import ui

from reelwright.protocols.shape_choices import Length, ShapeChoices
from reelwright.web.pages.elements import block, named, words
from reelwright.web.settings import Settings

_LONG_SIDE = 20
_MOST_SIZES = 9


class ShapePicker:
    """Sets height, width and what the family's lengths set; knows nothing where the model is not at hand."""

    def __init__(
        self,
        settings: Settings,
        choices_of: Callable[[Any], ShapeChoices | None],
        changed: Callable[[str], None],
    ) -> None:
        self._settings, self._choices_of, self._changed = settings, choices_of, changed
        self._drawn: ShapeChoices | None = None
        self._buttons: dict[tuple[int, int], ui.element] = {}
        self._length: ui.select | None = None
        with block("rw-stack", name="shape") as self._place:
            pass
        self.refresh()

    def refresh(self) -> None:
        """Show what the settings come to now; drawn anew only where there are other choices."""
        if self._settings.problems():
            return
        choices = self._choices_of(self._settings.config())
        if _offers(choices) != _offers(self._drawn):
            self._place.clear()
            with self._place:
                self._draw(choices)
        self._drawn = choices
        if choices is not None:
            self._mark(choices)

    def _draw(self, choices: ShapeChoices | None) -> None:
        self._buttons, self._length = {}, None
        if choices is None:
            words("Sizes and lengths of this model are known once it is found.", "rw-muted rw-small")
            return
        with block("rw-field"):
            words("Size", "rw-label")
            with block("rw-choices") as group:
                group.props('role=group aria-label="Size"')
                sizes = choices.sizes[:1] if choices.is_only_size else choices.sizes[:_MOST_SIZES]
                for size in sizes:
                    self._buttons[size] = self._draw_size(size)
            only = "This model makes no other size." if choices.is_only_size else ""
            words(only or f"Any other sides that are multiples of {choices.side_step} will do.", "rw-help")
        with block("rw-field"):
            words("Length", "rw-label")
            options = {length.frames: _length_text(length) for length in choices.lengths}
            self._length = ui.select(options, on_change=lambda event: self._take_length(event.value))
            named(self._length, "length").props('outlined dense options-dense aria-label="Length"')

    def _draw_size(self, size: tuple[int, int]) -> ui.element:
        width, height = size
        with ui.element("button").classes("rw-choice").props("type=button") as chip:
            scale = _LONG_SIDE / max(size)
            shape = ui.element("span").classes("rw-shape")
            shape.style(f"width: {width * scale:.0f}px; height: {height * scale:.0f}px")
            words(f"{width} × {height}", tag="span")
        chip.on("click", lambda: self._take_size(size))
        return named(chip, f"size-{width}x{height}")

    def _mark(self, choices: ShapeChoices) -> None:
        for size, chip in self._buttons.items():
            chip.props["aria-pressed"] = "true" if size == choices.size else "false"
        if self._length is not None and self._length.value != choices.length.frames:
            self._length.set_value(choices.length.frames)

    def _take_size(self, size: tuple[int, int]) -> None:
        assert self._drawn is not None
        is_own = size == self._drawn.sizes[0]
        self._settings.set("width", None if is_own else size[0])
        self._settings.set("height", None if is_own else size[1])
        self.refresh()
        self._changed("height")

    def _take_length(self, frames: int) -> None:
        drawn = self._drawn
        chosen = [length for length in drawn.lengths if length.frames == frames] if drawn else []
        if not chosen or (drawn and drawn.length.frames == frames):
            return
        for name, value in chosen[0].values.items():
            self._settings.set(name, value)
        self.refresh()
        self._changed("num_frames")


def _offers(choices: ShapeChoices | None) -> object:
    return None if choices is None else (choices.sizes, choices.lengths, choices.is_only_size)


def _length_text(length: Length) -> str:
    return f"{length.seconds:.1f} s · {length.frames} frames"
