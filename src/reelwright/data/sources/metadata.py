"""metadata.csv, .jsonl or .json: a table of files and captions."""

import csv
import json
from collections.abc import Iterator, Sequence
from typing import cast

from reelwright.core.errors import FileError, suggestion
from reelwright.core.locations import name_of, read_lines, read_text
from reelwright.data.sources.jsonl import parse_line, read_lines_of_json
from reelwright.data.sources.line_lists import place_in
from reelwright.data.sources.listing import Listed, each_listed
from reelwright.data.sources.media_names import kind_of
from reelwright.data.sources.records import Record, is_folder_of_pictures, listed_source
from reelwright.protocols.clips import Source

_NAMES = ("metadata.csv", "metadata.jsonl", "metadata.json")
_PATHS = ("file_name", "video", "path", "video_path", "image_path", "image")
_CAPTIONS = ("caption", "text", "prompt")
_SURPLUS = "columns without a name"


def find_metadata(files: Sequence[str]) -> list[str]:
    """The tables in a folder."""
    return [file for file in files if name_of(file) in _NAMES]


def metadata_sources(folder: str, table: str) -> Iterator[Listed]:
    """The items of a table: a path from the folder and a caption; other columns are left alone.

    Raises FileError with file and line.
    """
    if table.endswith(".csv"):
        yield from each_listed(_rows(table), lambda record: _source(record, folder))
    elif table.endswith(".jsonl"):
        yield from each_listed(read_lines_of_json(table), lambda line: _source(parse_line(line), folder))
    else:
        yield from each_listed(_objects(table), lambda record: _source(record, folder))


def _source(record: Record, folder: str) -> Source:
    if _SURPLUS in record.values:
        raise FileError(
            f"{record.origin}: has more columns than the first line. Put a text with commas into quotes."
        )
    key = next((each for each in _PATHS if record.values.get(each) is not None), None)
    if key is None:
        advice = suggestion(_PATHS[0], record.values)
        raise FileError(f"{record.origin}: {_PATHS[0]}: is missing. {advice}")
    media = place_in(folder, record.text(key).strip())
    kind = "video" if is_folder_of_pictures(media, "video") else kind_of(media)
    if kind is None:
        raise FileError(f"{record.origin}: {media}: is neither a picture nor a clip. Check the path.")
    return listed_source(record, media, kind, record.caption(_CAPTIONS))


def _rows(table: str) -> Iterator[Record]:
    reader = csv.DictReader((f"{line}\n" for _, line in read_lines(table)), restkey=_SURPLUS)
    try:
        for row in reader:
            yield Record(f"{table} line {reader.line_num}", row)
    except csv.Error as error:
        raise FileError(f"{table} line {reader.line_num}: is no CSV: {error}. Check the quotes.") from error


def _objects(table: str) -> Iterator[Record]:
    try:
        content: object = json.loads(read_text(table))
    except (ValueError, RecursionError) as error:
        raise FileError(f"{table}: is no JSON: {error}. It holds a list of objects.") from error
    objects = cast("list[object]", content if isinstance(content, list) else [])
    if not objects or not all(isinstance(each, dict) for each in objects):
        raise FileError(
            f'{table}: holds no list of objects. Write [{{"file_name": "a.mp4", "caption": ""}}].'
        )
    for number, each in enumerate(objects, start=1):
        yield Record(f"{table} item {number}", cast("dict[str, object]", each))
