"""Fields of a configuration as inputs of a node, and what is put into these as the configuration takes it."""

import re
from typing import Any

from reelwright.core.schema_fields import FieldFacts

NOTHING = "none"
"""Stands for a choice that is not made."""
_NUMBERS = ("number", "integer")
_PROSE = frozenset(("prompt", "negative_prompt", "system_prompt"))
_LARGEST_WHOLE, _LARGEST = 2**31 - 1, 1e9
"""Where a field has no bound: without one, ComfyUI's page takes 2048."""
_KINDS = {"text": "STRING", "path": "STRING", "number": "FLOAT", "integer": "INT", "switch": "BOOLEAN"}

Input = tuple[Any, dict[str, Any]]
"""What ComfyUI is told of an input: its type, or what to choose from, and how to show it."""


def input_of(facts: FieldFacts) -> Input:
    """The input for a field: same default, bounds and choices, with the field's docstring as its tooltip."""
    options: dict[str, Any] = {"tooltip": tooltip_of(facts)}
    if facts.kind == "choice":
        choices = [NOTHING, *facts.choices] if facts.optional else list(facts.choices)
        return choices, {"default": NOTHING if facts.default is None else facts.default, **options}
    if facts.kind == "list":
        between = ", " if facts.items in _NUMBERS else "; "
        return "STRING", {"default": between.join(map(str, facts.default or ())), **options}
    default = str(facts.default or "") if facts.kind in ("text", "path") else facts.default
    return _KINDS[facts.kind], {"default": default, **_shown_as(facts), **options}


def value_of(facts: FieldFacts, given: Any) -> Any:  # noqa: ANN401 - of the field's own type
    """The value of a field for what an input holds; None where nothing is chosen."""
    if facts.kind == "choice" and facts.optional and given == NOTHING:
        return None
    if facts.kind == "path":
        return str(given).strip() or None
    if facts.kind != "list":
        return given
    if facts.items in _NUMBERS:
        return [_number(word) for word in re.split(r"[\s,;]+", str(given)) if word]
    return [words.strip() for words in re.split(r"[;\n]", str(given)) if words.strip()]


def tooltip_of(facts: FieldFacts) -> str:
    """The field's docstring on one line, and how several values are written where it takes several."""
    about = " ".join(facts.about.split())
    if facts.kind != "list":
        return about
    return f"{about} {'Numbers with commas.' if facts.items in _NUMBERS else 'Several with ; between.'}"


def _shown_as(facts: FieldFacts) -> dict[str, Any]:
    """What the page needs to know beyond the default."""
    if facts.name in _PROSE:
        return {"multiline": True, "dynamicPrompts": facts.name != "system_prompt"}
    if facts.name == "seed":  # of which the page would draw a new one after each run, unless told not to
        return {**_bounds(facts, _LARGEST_WHOLE), "control_after_generate": False}
    if facts.kind == "integer":
        return _bounds(facts, _LARGEST_WHOLE)
    if facts.kind == "number":
        return {**_bounds(facts, _LARGEST), "step": 0.01, "round": False}
    return {}


def _bounds(facts: FieldFacts, largest: float) -> dict[str, Any]:
    return {
        "min": -largest if facts.minimum is None else facts.minimum,
        "max": largest if facts.maximum is None else facts.maximum,
    }


def _number(word: str) -> int | float | str:
    """What a word says; one that is no number is left for the configuration to refuse by name."""
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            continue
    return word
