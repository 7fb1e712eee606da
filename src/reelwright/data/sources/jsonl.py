"""A line of JSON for each picture or clip."""

import json
import re
from collections.abc import Iterator

from reelwright.core.errors import FileError, suggestion
from reelwright.core.locations import read_lines, resolve
from reelwright.data.sources.listing import Listed, each_listed
from reelwright.data.sources.media_names import Kind
from reelwright.data.sources.records import Record, listed_source
from reelwright.protocols.clips import Source

_CONTROL = re.compile(r"control_path(?:_(?P<number>\d+))?")


def jsonl_sources(path: str, kind: Kind) -> Iterator[Listed]:
    """The items of a file of lines. Relative paths start at the working directory, else beside the file.

    Raises FileError, each problem with file and line.
    """
    yield from each_listed(read_lines_of_json(path), lambda line: _source(parse_line(line), kind, path))


def read_lines_of_json(path: str) -> Iterator[tuple[str, str]]:
    """The lines with content, each with its file and number for messages."""
    return ((f"{path} line {number}", line) for number, line in read_lines(path) if line.strip())


def parse_line(line: tuple[str, str]) -> Record:
    """The object that a line holds. Raises FileError."""
    origin, text = line
    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FileError(f"{origin}: is no JSON: {error}. Each line holds one object.") from error
    if not isinstance(value, dict):
        raise FileError(f'{origin}: is no object. Write {{"video_path": "a.mp4", "caption": "..."}}.')
    return Record(origin, value)


def _source(record: Record, kind: Kind, path: str) -> Source:
    key = f"{kind}_path"
    if key not in record.values:
        raise FileError(f"{record.origin}: {_without_path(record, kind)}")
    return listed_source(
        record,
        resolve(record.text(key), path),
        kind,
        record.caption(["caption"]),
        tuple(resolve(record.text(control), path) for control in _control_keys(record)),
    )


def _control_keys(record: Record) -> list[str]:
    """The keys of controls: the one without a number first, the others by number."""
    numbers = {key: match["number"] for key in record.values if (match := _CONTROL.fullmatch(key))}
    return sorted(numbers, key=lambda key: -1 if numbers[key] is None else int(numbers[key]))


def _without_path(record: Record, kind: Kind) -> str:
    key, other = f"{kind}_path", "video" if kind == "image" else "image"
    if f"{key}_0" in record.values:
        return f"{key}_0: no model here trains on several target pictures. Give one, as {key}."
    if f"{other}_path" in record.values:
        return f"{key}: is missing. With {other}_path, name the file as {other}_jsonl_file in the data set."
    close = suggestion(key, record.values) if record.values else "The line is empty."
    return f"{key}: is missing. {close}"
