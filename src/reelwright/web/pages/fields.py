"""One field of a form: its name, what it takes, what it means, and what is wrong with what stands in it."""

from collections.abc import Callable
from typing import Any

from nicegui import ui
from nicegui.elements.mixins.value_element import ValueElement

from reelwright.core.schema_fields import FieldFacts
from reelwright.web.form_layout import titled
from reelwright.web.pages.elements import named, words
from reelwright.web.settings import Settings

Changed = Callable[[str], None]
"""Told the dotted name of the field."""

_TYPING_PAUSE = "debounce=250"
_UNSET = "—"
_NUMBERS = ("integer", "number")


class ShownField:
    """A field on a page, between the settings that it changes and the problems that are found in them."""

    def __init__(self, each: FieldFacts, settings: Settings, changed: Changed, *, bare: bool = False) -> None:
        """`bare`: what draws the value stands elsewhere; here is only what is wrong with it."""
        self._each, self._settings, self._changed = each, settings, changed
        self._input: ValueElement[Any] | None = None
        wide = " wide" if each.kind == "list" else ""
        with named(ui.element("div").classes(f"rw-field{wide}"), f"field-{each.dotted}") as self._element:
            if not bare:
                self._draw()
            self._problem = named(words("", "rw-problem"), f"problem-{each.dotted}")
            self._problem.props["role"] = "alert"
        self.show_problem("")

    def show_problem(self, text: str) -> None:
        """What is wrong; empty for nothing."""
        name = f"{titled(self._each.name)}: " if text and self._input is None else ""
        self._problem.set_text(name + text)
        self._problem.set_visibility(bool(text))
        self._element.classes(add="wrong" if text else "", remove="" if text else "wrong")
        is_changed = self._settings.is_changed(self._each.dotted)
        self._element.classes(add="changed" if is_changed else "", remove="" if is_changed else "changed")

    def refresh(self) -> None:
        """Show what the settings say now, where something else than this field changed them."""
        if self._input is not None:
            self._input.set_value(shown(self._each, self._settings.get(self._each.dotted)))

    def set_visibility(self, is_shown: bool) -> None:
        self._element.set_visibility(is_shown)

    def _draw(self) -> None:
        each = self._each
        words(titled(each.dotted), "rw-label")
        self._input = _draw_input(each, self._settings.get(each.dotted), self._take)
        named(self._input, f"input-{each.dotted}").props["aria-label"] = titled(each.dotted)
        words(_help(each), "rw-help")

    def _take(self, value: Any) -> None:  # noqa: ANN401 - of the input
        read = entered(self._each, value)
        if read != self._settings.get(self._each.dotted):
            self._settings.set(self._each.dotted, read)
            self._changed(self._each.dotted)


def entered(each: FieldFacts, value: Any) -> Any:  # noqa: ANN401 - of the input
    """What was typed or chosen, as data; text that is no number stays text, so that it can be told so."""
    if each.kind == "list":
        items = [item.strip() for item in str(value or "").splitlines() if item.strip()]
        return [_number(item, each.items) for item in items]
    if each.kind in _NUMBERS:
        text = str("" if value is None else value).strip()
        return _number(text, each.kind) if text else None
    if each.kind == "choice":
        return None if value == _UNSET else value
    if each.kind in ("text", "path"):
        return str(value or "") or (None if each.optional or each.kind == "path" else "")
    return value


def shown(each: FieldFacts, value: Any) -> Any:  # noqa: ANN401 - of the input
    """A value as its input takes it."""
    if each.kind == "list":
        return "\n".join(map(str, value or ()))
    if each.kind == "choice":
        return _UNSET if value is None else value
    if each.kind == "switch":
        return bool(value)
    if each.kind == "number" and isinstance(value, float):
        return f"{value:g}"
    return "" if value is None else str(value)


def _number(text: str, kind: str | None) -> Any:  # noqa: ANN401 - a number where it is one
    if kind not in _NUMBERS:
        return text
    for read in (int, float) if kind == "number" else (int,):
        try:
            return float(read(text)) if kind == "number" else read(text)
        except ValueError:
            continue
    return text


def _draw_input(each: FieldFacts, value: Any, take: Callable[[Any], None]) -> ValueElement[Any]:  # noqa: ANN401
    given = shown(each, value)
    if each.kind == "switch":
        return ui.switch(value=given, on_change=lambda event: take(event.value))
    if each.kind == "choice":
        choices = [*([_UNSET] if each.optional else []), *each.choices]
        drawn = ui.select(choices, value=given, on_change=lambda event: take(event.value))
        return drawn.props("outlined dense options-dense")
    if each.kind == "list" or each.name in ("prompt", "negative_prompt"):
        area = ui.textarea(value=given, on_change=lambda event: take(event.value))
        rows = 3 if each.name == "prompt" else 1
        return area.props(f'outlined dense autogrow {_TYPING_PAUSE} input-style="min-height: {rows * 1.6}em"')
    line = ui.input(value=given, on_change=lambda event: take(event.value))
    numeric = {"integer": "inputmode=numeric", "number": "inputmode=decimal"}.get(each.kind, "")
    return line.props(f"outlined dense {_TYPING_PAUSE} {numeric}")


def _help(each: FieldFacts) -> str:
    """What it means, and what it takes."""
    about = " ".join(each.about.replace("`", "").split())
    bounds = _bounds(each)
    per_line = "One a line." if each.kind == "list" else ""
    return " ".join(part for part in (about, per_line, bounds) if part)


def _bounds(each: FieldFacts) -> str:
    if each.minimum is None or each.maximum is None or each.maximum > 10**9:
        return ""
    return f"From {each.minimum:g} to {each.maximum:g}."
