"""Storyboards on disk: a folder with the file that a family reads, and the pictures that it names."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import tomli_w

from reelwright.core.config import from_mapping, read_toml
from reelwright.core.errors import ConfigError, FileError
from reelwright.core.paths import atomic_path, cannot_read, sha256_of, write_text_atomic
from reelwright.protocols.storyboards import StorySchema

STORY = "story.toml"
_IMAGE = "image"
_END_IMAGE = "end_image"

Keys = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Storyboard:
    """Only what is said, by the keys of a family's schema; pictures by absolute paths."""

    whole: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Keys for the whole video."""
    parts: tuple[Keys, ...] = ()
    """In time order."""


def read_storyboard(path: Path, schema: StorySchema) -> Storyboard:
    """The storyboard in a file. Raises ConfigError for what is none."""
    mapping = read_toml(path)
    tables = mapping.pop(schema.tables, [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise ConfigError(f"{path}: {schema.tables}: write [[{schema.tables}]] above each part.")
    parts = tuple(_with_absolute(path, each, _IMAGE) for each in cast("list[Keys]", tables))
    return Storyboard(whole=_with_absolute(path, mapping, _END_IMAGE), parts=parts)


def find_storyboard(folder: Path, schema: StorySchema) -> Storyboard | None:
    """The storyboard in a folder; None where there is none that can be read."""
    try:
        return read_storyboard(folder / STORY, schema)
    except ConfigError:
        return None


def write_storyboard(folder: Path, board: Storyboard, schema: StorySchema) -> Path:
    """Write a storyboard with copies of its pictures beside it; the file to give to `generate`.

    Raises ConfigError with all that the family's schema refuses, FileError for a picture that is not there.
    """
    check_storyboard(board, schema)
    whole = _with_copy(folder, board.whole, _END_IMAGE)
    parts = [_with_copy(folder, part, _IMAGE) for part in board.parts]
    path = folder / STORY
    write_text_atomic(path, tomli_w.dumps({**whole, schema.tables: parts}))
    return path


def check_storyboard(board: Storyboard, schema: StorySchema) -> None:
    """Raises ConfigError with every problem, each with the number of its part, from 1."""
    problems: list[str] = []
    for where, kind, keys in _tables(board, schema):
        try:
            from_mapping(kind, keys, where)
        except ConfigError as error:
            problems.append(str(error))
    if not board.parts:
        problems.append("There is no section yet. Add one.")
    if problems:
        raise ConfigError("\n".join(problems))


def count_sections(board: Storyboard, schema: StorySchema, config: object) -> tuple[int, ...]:
    """How many sections each part is. A part that is not legal counts as one."""
    return tuple(_count(part, schema, config) for part in board.parts)


def _count(keys: Mapping[str, Any], schema: StorySchema, config: object) -> int:
    try:
        return schema.num_sections(from_mapping(schema.part, keys, schema.tables), config)
    except ConfigError:
        return 1


def _tables(board: Storyboard, schema: StorySchema) -> Sequence[tuple[str, type[Any], Mapping[str, Any]]]:
    parts = [(f"section {at}", schema.part, part) for at, part in enumerate(board.parts, start=1)]
    return [("storyboard", schema.whole, board.whole), *parts]


def _with_absolute(story: Path, keys: Mapping[str, Any], name: str) -> Keys:
    """The same keys, with a picture that lies beside the storyboard named from the root."""
    return {**keys, name: str(story.parent.absolute() / str(keys[name]))} if name in keys else dict(keys)


def _with_copy(folder: Path, keys: Mapping[str, Any], name: str) -> Keys:
    """The same keys, with a copy of the picture in `folder`, named after what is in it."""
    if name not in keys:
        return dict(keys)
    picture = Path(str(keys[name]))
    if not picture.is_file():
        raise FileError(f"{name}: {picture}: there is no such file. Choose the picture again.")
    copy = folder / f"picture-{sha256_of(picture)[:16]}{picture.suffix.lower()}"
    if not copy.exists():
        try:
            with atomic_path(copy) as temporary:
                shutil.copyfile(picture, temporary)
        except OSError as error:
            raise cannot_read(picture, error) from error
    return {**keys, name: copy.name}
