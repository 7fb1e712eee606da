"""Model families side by side, one of them chosen."""

from collections.abc import Callable, Sequence

from nicegui import ui

from reelwright import families
from reelwright.web.pages.elements import block, named, words


class FamilyChips:
    """A button for each family, with its name and what it does; `chosen` is told of another one."""

    def __init__(self, known: Sequence[str], family: str, chosen: Callable[[str], None]) -> None:
        self._family, self._chosen = family, chosen
        self._chips: dict[str, ui.element] = {}
        with block("rw-choices even", name="families") as group:
            group.props('role=group aria-label="Model family"')
            for name in known:
                self._chips[name] = self._draw(name)
        self._mark()

    def _draw(self, family: str) -> ui.element:
        title, about = title_of(family)
        with ui.element("button").classes("rw-choice tall").props("type=button") as chip:
            words(title, "rw-strong", tag="span")
            words(about, "rw-muted rw-small rw-only-wide", tag="span")
        chip.on("click", lambda: self._choose(family))
        return named(chip, f"family-{family}")

    def _choose(self, family: str) -> None:
        if family != self._family:
            self._family = family
            self._mark()
            self._chosen(family)

    def _mark(self) -> None:
        for name, chip in self._chips.items():
            chip.props["aria-pressed"] = "true" if name == self._family else "false"


def title_of(family: str) -> tuple[str, str]:
    """A family's name and what it does, as its schema says: "Name: what it makes."."""
    told = str(families.configs(family).GENERATE.__doc__ or family).strip().splitlines()[0]
    title, _, about = told.partition(": ")
    return title, about.rstrip(".")
