"""The few building blocks that pages share, each with a name by which tests and readers find it."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal, TypeVar

from nicegui import ui
from nicegui.elements.mixins.text_element import TextElement

E = TypeVar("E", bound=ui.element)

ButtonLook = Literal["primary", "plain", "ghost"]
Act = Callable[[], Awaitable[None] | None]


def named(element: E, name: str) -> E:
    """The same element, to be found by `name`: as a marker in unit tests, as data-testid in a browser."""
    element.mark(name)
    element.props["data-testid"] = name
    return element


def reached_by(element: E, key: str) -> E:
    """The same element, pressed by Alt and a key wherever one types (style/keys.js)."""
    element.props["data-key"] = key
    element.props["aria-keyshortcuts"] = f"Alt+{key.upper()}"
    return element


def words(text: str, classes: str = "", *, tag: str = "div") -> TextElement:
    """Text as it is; nothing in it becomes HTML."""
    return TextElement(tag=tag, text=text).classes(classes)


def heading(level: Literal[1, 2, 3], text: str) -> TextElement:
    """A heading of the page's outline."""
    return words(text, tag=f"h{level}")


def block(classes: str, *, tag: str = "div", name: str = "") -> ui.element:
    """An element to put others into, by `with`."""
    element = ui.element(tag).classes(classes)
    return named(element, name) if name else element


def button(text: str, act: Act, name: str, *, look: ButtonLook = "plain", icon: str = "") -> ui.button:
    """A button with a word on it."""
    made = ui.button(text, on_click=act, icon=icon or None, color=None).classes(f"rw-{look}")
    made.props("unelevated no-caps")
    return named(made, name)


def icon_button(icon: str, label: str, act: Act, name: str) -> ui.button:
    """A button with a picture on it, whose `label` is read aloud and shown on hover."""
    made = ui.button(icon=icon, on_click=act, color=None).classes("rw-ghost").props("flat round dense")
    made.props["aria-label"] = label
    with made:
        ui.tooltip(label)
    return named(made, name)


def facts(pairs: Mapping[str, str], *, classes: str = "") -> ui.element:
    """Names and what they are, in two columns."""
    with ui.element("dl").classes(f"rw-facts {classes}") as element:
        for name, value in pairs.items():
            words(name, tag="dt")
            words(value, tag="dd")
    return element


def nothing_here(icon: str, text: str, name: str) -> ui.element:
    """What stands where there is nothing yet: how to get something."""
    with block("rw-empty", name=name) as element:
        ui.icon(icon)
        words(text)
    return element


def tell(text: str, kind: Literal["positive", "negative", "info"] = "info") -> None:
    """A message that goes away by itself, but stays long enough where something is wrong."""
    options: dict[str, Any] = {"close_button": "OK", "timeout": 12_000} if kind == "negative" else {}
    ui.notify(text, type=kind, position="top", multi_line=True, **options)
