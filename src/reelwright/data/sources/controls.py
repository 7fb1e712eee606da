"""Control pictures and clips in a folder of their own, by the names of what they belong to."""

import re
from collections.abc import Mapping, Sequence

from reelwright.core.errors import FileError
from reelwright.core.locations import exists, join, list_files
from reelwright.data.sources.media_names import Kind, kind_of, stem_of

_NUMBERED = re.compile(r"(?P<stem>.+)_(?P<number>\d+)")

Controls = Mapping[str, Sequence[str]]


def find_controls(folder: str | None, media: Sequence[str], kind: Kind) -> Controls:
    """The controls of each of `media`, by stem: `stem`, then `stem_0`, `stem_1`, ... in order.

    A clip has one control: a clip, picture or folder of its name. Raises FileError for two of one name.
    """
    if folder is None:
        return {}
    stems = {stem_of(each) for each in media}
    return _controls_of_clips(folder, stems) if kind == "video" else _controls_of_pictures(folder, stems)


def _controls_of_pictures(folder: str, stems: set[str]) -> Controls:
    ordered: dict[str, dict[int, str]] = {}
    for file in list_files(folder):
        if kind_of(file) == "image" and (place := _place(stem_of(file), stems)) is not None:
            stem, number = place
            _refuse_second(ordered.get(stem, {}).get(number), file)
            ordered.setdefault(stem, {})[number] = file
    return {stem: [numbered[each] for each in sorted(numbered)] for stem, numbered in ordered.items()}


def _controls_of_clips(folder: str, stems: set[str]) -> Controls:
    found: dict[str, Sequence[str]] = {}
    for file in list_files(folder):
        stem = stem_of(file)
        if kind_of(file) is not None and stem in stems:
            _refuse_second(next(iter(found.get(stem, ())), None), file)
            found[stem] = [file]
    folders = {stem: join(folder, stem) for stem in stems if stem not in found}
    return {**found, **{stem: [place] for stem, place in folders.items() if exists(place)}}


def _place(stem: str, stems: set[str]) -> tuple[str, int] | None:
    """Whose control it is, and its number; -1 without one. The control of a picture named a_1 is not of a."""
    if stem in stems:
        return stem, -1
    match = _NUMBERED.fullmatch(stem)
    if match is None or match["stem"] not in stems:
        return None
    return match["stem"], int(match["number"])


def _refuse_second(first: str | None, second: str) -> None:
    if first is not None:
        raise FileError(f"{second}: has the same name and number as {first}. Keep one of them.")
