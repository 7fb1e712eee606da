"""One text with a value for each section: "0:a cat sits;;;1-2:it runs;;;-1:it sleeps" (specs: FramePack 2.5).

A part's index is a section counted from 0, from the end if negative, or a range of them; nothing after it is
an empty value. A part without an index is for section 0; a text that is one such part is for all sections.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from reelwright.core.errors import ConfigError

SEPARATOR = ";;;"
_INDEXED = re.compile(r"\s*(?P<first>-?\d+)(?:\s*-\s*(?P<last>-?\d+))?\s*:(?P<value>.*)", re.DOTALL)
_ALMOST_INDEXED = re.compile(r"[\s,.–-]*\d[\s\d,.–-]*:")
"""What only a mistyped index begins with."""


@dataclass(frozen=True, kw_only=True)
class SectionValues:
    """The values of a text, by section."""

    num_sections: int
    given: Mapping[int, str]
    """Of the sections that the text names, counted in time from 0."""
    default: str
    """Of all others."""

    def of(self, section: int) -> str:
        """The value of a section, counted in time from 0."""
        if not 0 <= section < self.num_sections:
            raise ValueError(f"section: {section} is not in 0..{self.num_sections - 1}.")
        return self.given.get(section, self.default)


def parse_section_spec(text: str, num_sections: int, origin: str) -> SectionValues:
    """The values of a text for a video of so many sections; white space around them is dropped.

    A section that is not named takes the value of section 0, else of the first one named. Raises ConfigError
    that begins with `origin` and names the part: sections out of range, named twice, or parts that cannot be
    read.
    """
    parts = text.split(SEPARATOR)
    if len(parts) == 1 and not _is_indexed(text):
        plain = text.strip()
        return SectionValues(
            num_sections=num_sections, given=dict.fromkeys(range(num_sections), plain), default=plain
        )
    by_key: dict[int, str] = {}
    given: dict[int, str] = {}
    for number, part in enumerate(parts, start=1):
        where = f"{origin}: part {number} ({_shorten(part)})"
        keys, value = _read_part(part, num_sections, where)
        for key in keys:
            section = key % num_sections
            if section in given:
                raise ConfigError(f"{where}: section {section} has a value already. Name each section once.")
            by_key[key] = given[section] = value
    return SectionValues(num_sections=num_sections, given=given, default=by_key[_default_key(by_key)])


def write_section_spec(values: Sequence[str | None]) -> str:
    """The text that `parse_section_spec` reads as these values, one for each section; None is not named.

    Raises ConfigError for a value that such a text cannot hold.
    """
    for value in values:
        if value is not None and SEPARATOR in value:
            raise ConfigError(f"{_shorten(value)}: holds {SEPARATOR}, which separates sections. Reword it.")
    runs = [(first, last, value) for first, last, value in _runs_of_equal(values) if value is not None]
    if len(runs) == 1 and runs[0][:2] == (0, len(values) - 1) and not _is_indexed(runs[0][2]):
        return runs[0][2]
    return SEPARATOR.join(
        f"{first}:{value}" if first == last else f"{first}-{last}:{value}" for first, last, value in runs
    )


def _read_part(part: str, num_sections: int, where: str) -> tuple[Iterable[int], str]:
    """The keys of a part as it counts them, from the end if negative, and its value."""
    indexed = _INDEXED.fullmatch(part)
    if indexed is None and _is_indexed(part):
        raise ConfigError(
            f"{where}: the index cannot be read. Write 2:, -1:, 0-2: or -3--1: before the value; before a"
            " value that begins like an index itself, write 0:."
        )
    value = (indexed["value"] if indexed else part).strip()
    if indexed is None:
        if not value:
            raise ConfigError(f"{where}: there is nothing. Write a value, or leave out the part.")
        return [0], value
    first = int(indexed["first"])
    last = first if indexed["last"] is None else int(indexed["last"])
    for key in (first, last):
        if not -num_sections <= key < num_sections:
            raise ConfigError(
                f"{where}: there is no section {key}. The video has {num_sections}, 0 to {num_sections - 1}"
                f" or from the end -1 to -{num_sections}. Before a value that begins like an index, write 0:."
            )
    if (first < 0) != (last < 0):
        first, last = first % num_sections, last % num_sections
    if first > last:
        raise ConfigError(f"{where}: the range runs backward. Write the earlier section first.")
    return range(first, last + 1), value


def _default_key(keys: Iterable[int]) -> int:
    """Whose value holds for sections without one: 0, else the first from the front, else from the end."""
    known = sorted(keys)
    return next((key for key in known if key >= 0), known[0])


def _is_indexed(text: str) -> bool:
    return _INDEXED.match(text) is not None or _ALMOST_INDEXED.match(text) is not None


def _runs_of_equal(values: Sequence[str | None]) -> Iterable[tuple[int, int, str | None]]:
    """First section, last section and value of each run of equal values."""
    for value, run in groupby(range(len(values)), key=lambda section: values[section]):
        sections = list(run)
        yield sections[0], sections[-1], value


def _shorten(text: str) -> str:
    stripped = text.strip()
    return repr(stripped if len(stripped) <= 40 else f"{stripped[:40]}…")
