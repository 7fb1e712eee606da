"""The spellings that keys of data sets have in files, brought into the one that the schema has."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

DEPRECATED = {
    "flux_kontext_no_resize_control": "no_resize_control",
    "qwen_image_edit_no_resize_control": "no_resize_control",
    "qwen_image_edit_control_resolution": "control_resolution",
}
"""Names that files written for musubi-tuner may still have."""

_SIZES = ("resolution", "control_resolution")


@dataclass(frozen=True)
class Table:
    """The keys and values of one table, and what is wrong with their form, each as "key: what. do this"."""

    values: dict[str, object]
    problems: list[str]


def in_one_form(raw: Mapping[str, object]) -> Table:
    """A table with underscores for dashes, new names for deprecated ones, and short forms written out.

    `resolution = 640` is [640, 640], `target_frames = 37` is [37], `caption_extension = "txt"` is ".txt".
    A null of JSON says nothing.
    """
    table = Table({}, [])
    for said, value in raw.items():
        plain = said.replace("-", "_")
        key = DEPRECATED.get(plain, plain)
        if key in table.values:
            also = "" if said == key else f" It is the same as {key}."
            table.problems.append(f"{said}: given twice.{also} Keep one.")
        elif value is not None:
            table.values[key] = _written_out(key, value)
    for key in _SIZES:
        _check_size(key, table)
    return table


def _written_out(key: str, value: object) -> object:
    is_number = isinstance(value, int) and not isinstance(value, bool)
    if key in _SIZES and is_number:
        return [value, value]
    if key == "target_frames":
        return [value] if is_number else _sorted_once(value)
    if key == "caption_extension" and isinstance(value, str) and value and not value.startswith("."):
        return f".{value}"
    return value


def _sorted_once(value: object) -> object:
    """A list of numbers in order, each once; anything else as it is, for the schema to refuse."""
    numbers: Sequence[Any] = value if isinstance(value, list | tuple) else ()
    return sorted(set(numbers)) if numbers and all(type(each) is int for each in numbers) else value


def _check_size(key: str, table: Table) -> None:
    value = table.values.get(key)
    if isinstance(value, list | tuple) and len(value) != 2:
        table.problems.append(f"{key}: {list(value)} is no size. Write one number, or [width, height].")
        del table.values[key]
