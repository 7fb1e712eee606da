"""A storyboard while it is written: a strip of time, and a card for each part of the video."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from nicegui import ui

from reelwright.core.schema_fields import FieldFacts
from reelwright.protocols.storyboards import StorySchema
from reelwright.web.form_layout import titled
from reelwright.web.pages.drop import DropPlace
from reelwright.web.pages.elements import block, icon_button, named, words
from reelwright.web.pages.fields import ShownField
from reelwright.web.pages.story_strip import Span, draw_strip, seconds_text
from reelwright.web.settings import Settings
from reelwright.web.storyboards import Storyboard, count_sections
from reelwright.web.studio import Studio

_PICTURES = "image/*"
_FIRST_PARTS = 3
_PROMPT, _IMAGE = "prompt", "image"


class StoryCards:
    """The parts of a storyboard, and what holds for all of them; `changed` is told of every change."""

    def __init__(
        self,
        studio: Studio,
        schema: StorySchema,
        board: Storyboard,
        config: Callable[[], object],
        changed: Callable[[], None],
    ) -> None:
        self._studio, self._schema = studio, schema
        self._config, self._told = config, changed
        self._whole = Settings(schema.whole, board.whole)
        parts = board.parts or ({},) * _FIRST_PARTS
        self._parts = [Settings(schema.part, part) for part in parts]
        self._unfolded: list[Settings] = []
        self._strip = block("st-strip-place").__enter__()
        self._strip.__exit__()
        self._cards = named(ui.element("div").classes("st-cards"), "story-cards")
        self._times: list[Callable[[Span], None]] = []
        self._draw_cards()

    @property
    def board(self) -> Storyboard:
        """As it stands."""
        return Storyboard(whole=self._whole.values, parts=tuple(part.values for part in self._parts))

    @property
    def num_sections(self) -> int:
        return sum(count_sections(self.board, self._schema, self._config()))

    def draw_whole(self) -> None:
        """The fields that hold for the whole video, here."""
        for each in self._whole.facts.values():
            if each.kind == "path":
                _draw_picture(self._studio, self._whole, each, f"whole-{each.name}", self._told)
            else:
                ShownField(each, self._whole, lambda _: self._told())

    def refresh_times(self) -> None:
        """Lengths anew: of a section, or of a part."""
        spans = self._spans()
        self._strip.clear()
        with self._strip:
            draw_strip(spans, [f"story-part-{at}" for at in range(len(spans))])
        for show, span in zip(self._times, spans, strict=True):
            show(span)

    def _spans(self) -> list[Span]:
        each = self._schema.section_seconds(self._config())
        counts = count_sections(self.board, self._schema, self._config())
        starts = [sum(counts[:at]) * each for at in range(len(counts))]
        return [
            Span(start=start, seconds=count * each, sections=count)
            for start, count in zip(starts, counts, strict=True)
        ]

    def _draw_cards(self) -> None:
        self._cards.clear()
        self._times = []
        with self._cards:
            for at, part in enumerate(self._parts):
                self._draw_card(at, part)
            with ui.element("button").classes("st-add").on("click", self._add) as add:
                named(add, "story-add").props["type"] = "button"
                ui.icon("add")
                words("Add a section", tag="span")
        self.refresh_times()

    def _draw_card(self, at: int, part: Settings) -> None:
        with block("st-card", tag="section", name=f"story-part-{at}") as card:
            card.props["aria-label"] = f"Part {at + 1}"
            with block("rw-row still rw-spread"):
                words(str(at + 1), "st-number")
                self._draw_acts(at)
            _draw_picture(self._studio, part, part.facts[_IMAGE], f"part-{at}", self._told, hint="Picture")
            self._draw_prompt(at, part)
            self._times.append(self._draw_length(at, part))
            self._draw_more(at, part)

    def _draw_acts(self, at: int) -> None:
        last = len(self._parts) - 1
        with block("rw-row still st-acts"):
            back = icon_button("chevron_left", "Earlier", partial(self._move, at, at - 1), f"earlier-{at}")
            back.set_enabled(at > 0)
            later = icon_button("chevron_right", "Later", partial(self._move, at, at + 1), f"later-{at}")
            later.set_enabled(at < last)
            icon_button("content_copy", "Double it", partial(self._double, at), f"double-{at}")
            gone = icon_button("delete_outline", "Remove", partial(self._remove, at), f"remove-{at}")
            gone.set_enabled(last > 0)

    def _draw_prompt(self, at: int, part: Settings) -> None:
        def take(value: str | None) -> None:
            part.set(_PROMPT, value or "")
            self._told()

        hint = "What happens here" if at == 0 else "What happens here; empty repeats the first part"
        area = ui.textarea(
            value=part.get(_PROMPT), placeholder=hint, on_change=lambda event: take(event.value)
        )
        named(area.props("outlined autogrow dense debounce=250"), f"prompt-{at}")
        area.props["aria-label"] = f"Prompt of part {at + 1}"

    def _draw_length(self, at: int, part: Settings) -> Callable[[Span], None]:
        """Buttons that make the part a section longer or shorter; what shows its place in time."""
        with block("rw-row still rw-spread st-length"):
            time = ui.label().classes("rw-tiny rw-muted")
            with block("rw-row still tight"):
                icon_button("remove", "Shorter", partial(self._stretch, part, -1), f"shorter-{at}")
                shown = named(ui.label().classes("rw-strong rw-small"), f"length-{at}")
                icon_button("add", "Longer", partial(self._stretch, part, 1), f"longer-{at}")
        return partial(_show_span, time, shown)

    def _draw_more(self, at: int, part: Settings) -> None:
        said = {_PROMPT, _IMAGE, *self._schema.lengths}
        rest = [each for each in part.facts.values() if each.name not in said and each.kind != "group"]
        if rest:
            with (
                named(ui.expansion("More", value=part in self._unfolded), f"more-{at}") as more,
                block("rw-stack"),
            ):
                for each in rest:
                    ShownField(each, part, lambda _: self._told())
            more.on_value_change(lambda event: self._note_fold(part, is_open=event.value))

    def _note_fold(self, part: Settings, *, is_open: bool) -> None:
        """All cards are drawn anew when one moves: what was open opens again."""
        self._unfolded = [each for each in self._unfolded if each is not part] + [part] * is_open

    def _stretch(self, part: Settings, by: int) -> None:
        config = self._config()
        (count,) = count_sections(Storyboard(parts=(part.values,)), self._schema, config)
        for name in self._schema.lengths:
            part.set(name, None)
        length = max(count + by, 1) * self._schema.section_seconds(config)
        part.set(self._schema.lengths[0], round(length, 4))
        self.refresh_times()
        self._told()

    def _add(self) -> None:
        self._change([*self._parts, Settings(self._schema.part)])
        ui.run_javascript(
            f"document.querySelector('[data-testid=\"prompt-{len(self._parts) - 1}\"]')?.focus()"
        )

    def _move(self, at: int, to: int) -> None:
        parts = [*self._parts]
        parts.insert(to, parts.pop(at))
        self._change(parts)

    def _double(self, at: int) -> None:
        copy = Settings(self._schema.part, self._parts[at].values)
        self._change([*self._parts[: at + 1], copy, *self._parts[at + 1 :]])

    def _remove(self, at: int) -> None:
        self._change([*self._parts[:at], *self._parts[at + 1 :]])

    def _change(self, parts: list[Settings]) -> None:
        self._parts = parts
        self._draw_cards()
        self._told()


def board_from(values: Mapping[str, Any]) -> Storyboard:
    """A storyboard as the desk keeps it; an empty one for nothing."""
    return Storyboard(whole=values.get("whole", {}), parts=tuple(values.get("parts", ())))


def board_to(board: Storyboard) -> dict[str, Any]:
    """A storyboard as the desk keeps it."""
    return {"whole": dict(board.whole), "parts": [dict(part) for part in board.parts]}


def _draw_picture(
    studio: Studio,
    settings: Settings,
    each: FieldFacts,
    name: str,
    told: Callable[[], None],
    *,
    hint: str = "",
) -> None:
    def take(path: str) -> None:
        settings.set(each.dotted, path or None)
        place.show(path)
        told()

    place = DropPlace(studio, name, hint or titled(each.name), take, accept=_PICTURES)
    place.show(settings.get(each.dotted) or "")


def _show_span(time: ui.label, length: ui.label, span: Span) -> None:
    time.set_text(f"{seconds_text(span.start)} to {seconds_text(span.start + span.seconds)}")
    length.set_text(seconds_text(span.seconds))
