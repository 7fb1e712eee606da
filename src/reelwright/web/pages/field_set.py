"""Fields of one schema on a page, some open and some folded away, with what is wrong beside each."""

from collections.abc import Callable, Iterable

from nicegui import ui

from reelwright.web.form_layout import Fold, titled
from reelwright.web.pages.elements import block, named
from reelwright.web.pages.fields import ShownField
from reelwright.web.pages.pause import Pause
from reelwright.web.settings import Settings


class FieldSet:
    """The fields drawn so far. Once typing pauses, `settled` is told what is wrong, by field."""

    def __init__(self, settings: Settings, settled: Callable[[dict[str, str]], None]) -> None:
        self.settings, self._settled = settings, settled
        self._shown: dict[str, ShownField] = {}
        self._folds: list[tuple[Fold, ui.expansion]] = []
        self._rest: ui.expansion | None = None
        self._pause = Pause(self._settle)

    def draw(self, names: Iterable[str]) -> None:
        """Open fields, side by side; names that the schema does not have are left out."""
        with block("rw-fields"):
            for name in names:
                if name in self.settings.facts:
                    self._shown[name] = ShownField(self.settings.facts[name], self.settings, self._changed)

    def draw_rest(self, folds: Iterable[Fold]) -> None:
        """All that few people need, behind one title."""
        rest = list(folds)
        caption = ", ".join(fold.title.lower() for fold in rest[:5])
        with named(ui.expansion("All settings", caption=f"{caption}, …"), "fold-all") as self._rest:
            for fold in rest:
                self.draw_fold(fold)

    def draw_fold(self, fold: Fold) -> None:
        """Fields behind a title that tells of the first of them, or how many are changed."""
        changed = sum(self.settings.is_changed(each.dotted) for each in fold.fields)
        first = ", ".join(titled(each.name).lower() for each in fold.fields[:4])
        caption = f"{changed} changed" if changed else first
        with ui.expansion(fold.title, caption=caption) as expansion:
            self.draw(each.dotted for each in fold.fields)
        named(expansion, f"fold-{fold.title.lower().replace(' ', '-')}")
        self._folds.append((fold, expansion))

    def show_problems(self, problems: dict[str, str]) -> str:
        """What is wrong, beside each field; folds with a problem in them open. The rest is returned."""
        for dotted, field in self._shown.items():
            field.show_problem(problems.get(dotted, ""))
        for fold, expansion in self._folds:
            if any(each.dotted in problems for each in fold.fields):
                expansion.open()
                if self._rest is not None:
                    self._rest.open()
        return "\n".join(text for dotted, text in problems.items() if dotted not in self._shown)

    def _changed(self, _: str) -> None:
        self._pause.begin()

    def _settle(self) -> None:
        problems = self.settings.problems()
        self.show_problems(problems)
        self._settled(problems)
