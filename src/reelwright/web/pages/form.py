"""One form for any family: what matters stands open, the rest is folded away; nothing is known of a family
but its schema, its variants and its legal shapes."""

from collections.abc import Callable, Iterable
from types import ModuleType

from nicegui import ui

from reelwright.protocols.variant import Variant
from reelwright.web import form_layout
from reelwright.web.form_layout import Fold, titled
from reelwright.web.pages.drop import DropPlace
from reelwright.web.pages.elements import block, button, named, words
from reelwright.web.pages.fields import ShownField
from reelwright.web.pages.pause import Pause
from reelwright.web.pages.shape_picker import ShapePicker
from reelwright.web.settings import Settings
from reelwright.web.studio import Studio

_SEED = "seed"


class SettingsForm:
    """The form over one family's settings. `settled` is told, once typing pauses, what is wrong by field."""

    def __init__(
        self,
        studio: Studio,
        family: ModuleType,
        settings: Settings,
        settled: Callable[[dict[str, str]], None],
        last_seed: Callable[[], int | None] = lambda: None,
    ) -> None:
        self._last_seed = last_seed
        self._studio, self._family, self.settings, self._settled = studio, family, settings, settled
        self._shown: dict[str, ShownField] = {}
        self._drops: dict[str, DropPlace] = {}
        self._folds: dict[str, tuple[Fold, ui.expansion]] = {}
        self._shape: ShapePicker | None = None
        self._pause = Pause(self._settle)
        with block("rw-stack", name="form") as self._place:
            self._draw()

    def reload(self) -> None:
        """Draw all of it anew, after the settings were taken from elsewhere."""
        self._place.clear()
        self._shown, self._drops, self._folds = {}, {}, {}
        with self._place:
            self._draw()
        self._settle()

    def show_problems(self, problems: dict[str, str]) -> None:
        """What is wrong, beside each field; a fold with a problem in it opens."""
        for dotted, field in self._shown.items():
            field.show_problem(problems.get(dotted, ""))
        for fold, expansion in self._folds.values():
            if any(each.dotted in problems for each in fold.fields):
                expansion.open()

    def shows(self, dotted: str) -> bool:
        """Whether a field of the schema stands in the form."""
        return dotted in self._shown

    def _draw(self) -> None:
        with block("rw-card rw-stack"):
            self._draw_model()
            for name in self._known(form_layout.WORDS):
                self._draw_field(name)
        pictures = list(self._known(form_layout.PICTURES))
        if pictures:
            with block("rw-card rw-stack"):
                self._draw_pictures(pictures)
        with block("rw-card rw-stack"):
            self._shape = ShapePicker(self.settings, self._family.SHAPES, self._changed)
            with block("rw-fields"):
                for name in self._known(form_layout.ESSENTIALS):
                    self._draw_seed() if name == _SEED else self._draw_field(name)
        with block("rw-card", name="folds"):
            exact = tuple(self.settings.facts[name] for name in self._known(form_layout.EXACT))
            for fold in (Fold("Exact size and length", exact), *form_layout.folds(self.settings.schema)):
                self._draw_fold(fold)

    def _draw_model(self) -> None:
        variants: tuple[Variant, ...] = self._family.VARIANTS
        chosen = str(self.settings.get("model"))
        options = {variant.name: f"{variant.name} · {variant.title}" for variant in variants}
        options.setdefault(chosen, chosen)
        with block("rw-field", name="field-model"):
            words("Model", "rw-label")
            select = ui.select(
                options,
                value=chosen,
                with_input=True,
                new_value_mode="add-unique",
                on_change=lambda event: self._take_model(str(event.value or "tiny")),
            )
            named(select, "input-model").props('outlined dense options-dense aria-label="Model"')
            words(self.settings.facts["model"].about, "rw-help")

    def _take_model(self, model: str) -> None:
        self.settings.set("model", model)
        self._changed("model")

    def _draw_pictures(self, names: list[str]) -> None:
        words("Start from", "rw-label rw-strong")
        with block("rw-grid").style("--tile: 124px"):
            for name in names:
                self._draw_drop(name)
        with block("rw-stack tight"):
            for name in names:
                facts = self.settings.facts[name]
                self._shown[name] = ShownField(facts, self.settings, self._changed, bare=True)
        with block("rw-fields") as self._options:
            for name in self._known(form_layout.PICTURE_OPTIONS):
                self._draw_field(name)
        self._show_options()

    def _draw_drop(self, name: str) -> None:
        def take(path: str) -> None:
            self.settings.set(name, path or None)
            self._drops[name].show(path)
            self._show_options()
            self._changed(name)

        self._drops[name] = DropPlace(self._studio, name, titled(name), take)
        self._drops[name].show(str(self.settings.get(name) or ""))

    def _show_options(self) -> None:
        """What says how to use a picture is of no use, and even refused, without one."""
        for option, pictures in form_layout.PICTURE_OPTIONS.items():
            if option in self._shown:
                is_used = any(self.settings.get(name) for name in self._known(pictures))
                self._shown[option].set_visibility(is_used)
        self._options.set_visibility(any(self.settings.get(name) for name in self._drops))

    def _draw_seed(self) -> None:
        """A seed is drawn, or that of the job before is taken again."""
        with block("rw-stack tight"):
            self._draw_field(_SEED)
            with block("rw-row tight"):
                button("Draw one", lambda: self._take_seed(None), "seed-draw", look="ghost", icon="casino")
                button(
                    "As before",
                    lambda: self._take_seed(self._last_seed()),
                    "seed-last",
                    look="ghost",
                    icon="replay",
                )

    def _take_seed(self, seed: int | None) -> None:
        self.settings.set(_SEED, seed)
        self._shown[_SEED].refresh()
        self._changed(_SEED)

    def _draw_field(self, name: str) -> None:
        self._shown[name] = ShownField(self.settings.facts[name], self.settings, self._changed)

    def _draw_fold(self, fold: Fold) -> None:
        changed = sum(self.settings.is_changed(each.dotted) for each in fold.fields)
        with ui.expansion(fold.title, caption=_caption(fold, changed)) as expansion, block("rw-fields"):
            for each in fold.fields:
                self._shown[each.dotted] = ShownField(each, self.settings, self._changed)
        named(expansion, f"fold-{fold.title.lower().replace(' ', '-')}")
        self._folds[fold.title] = (fold, expansion)

    def _known(self, names: Iterable[str]) -> Iterable[str]:
        return (name for name in names if name in self.settings.facts)

    def _changed(self, dotted: str) -> None:
        self._pause.begin()

    def _settle(self) -> None:
        problems = self.settings.problems()
        if self._shape is not None:
            self._shape.refresh()
        for name in self._known(form_layout.EXACT):
            self._shown[name].refresh()
        self.show_problems(problems)
        self._settled(problems)


def _caption(fold: Fold, changed: int) -> str:
    named_first = ", ".join(titled(each.name).lower() for each in fold.fields[:4])
    return f"{changed} changed" if changed else named_first
