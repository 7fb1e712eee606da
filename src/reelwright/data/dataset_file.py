"""Files of data sets: `[general]` for all of them, `[[datasets]]` for each."""

import json
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, cast

from reelwright.core.config import from_mapping, parse_toml
from reelwright.core.errors import ConfigError, nearest, suggestion
from reelwright.core.locations import join, local_path, resolve
from reelwright.data.dataset_keys import in_one_form
from reelwright.data.dataset_rules import problems_of
from reelwright.data.sources.media_names import kind_of
from reelwright.protocols.datasets import SOURCE_KEYS, DatasetConfig, DatasetFile, GeneralKeys

_GENERAL = frozenset(item.name for item in fields(GeneralKeys))
_OWN = frozenset(item.name for item in fields(DatasetConfig)) - {"family_keys"}
_MOVE = "belongs to a single data set. Move it below [[datasets]]."

Values = dict[str, object]


def read_dataset_file(
    path: Path, family_keys: Mapping[str, type], overrides: Mapping[str, object] | None = None
) -> DatasetFile:
    """The data sets of a TOML or JSON file, each complete; a folder or a tar file is one data set by itself.

    `family_keys` are the schemas of what single families know besides, by family. `overrides` are flags of
    the command line: those that are keys of data sets count where the file is silent, others are ignored.
    Relative paths start at the working directory; what does not exist there but beside the file is taken
    from there, and then a new relative cache_directory goes there too. Raises ConfigError with all problems.
    """
    reading = _Reading(path, family_keys)
    flags = {name: value for name, value in (overrides or {}).items() if name in _OWN and value is not None}
    below = reading.check(flags, "command line", _OWN)
    if path.is_dir() or path.suffix == ".tar":
        reading.raise_problems()
        return reading.finish([reading.dataset(below, {"folder": str(path)}, str(path))])
    general, entries = reading.tables(_parse(path))
    below |= reading.check(general, f"{path}: [general]", _GENERAL)
    origins = [f"{path}: [[datasets]] {number}" for number in range(1, len(entries) + 1)]
    checked = [
        reading.check(entry, origin, _OWN | reading.keys_of_families)
        for entry, origin in zip(entries, origins, strict=True)
    ]
    reading.raise_problems()
    return reading.finish(
        [reading.dataset(below, entry, origin) for entry, origin in zip(checked, origins, strict=True)]
    )


class _Reading:
    """Collects the problems of a file, so that all are told at once."""

    def __init__(self, path: Path, schemas: Mapping[str, type]) -> None:
        self._path = path
        self._schemas = schemas
        self._problems: list[str] = []
        self.keys_of_families = frozenset(name for schema in schemas.values() for name in _names(schema))

    def tables(self, content: Mapping[str, object]) -> tuple[Values, list[Values]]:
        """`[general]`, and each of `[[datasets]]`."""
        known = _OWN | self.keys_of_families
        for key in sorted(content.keys() - {"general", "datasets"}):
            problem = (
                "stands outside of all tables. Move it below [general] or [[datasets]]."
                if key in known
                else f"unknown key. {suggestion(key, ('general', 'datasets'))}"
            )
            self._problems.append(f"{self._path}: {key}: {problem}")
        general, datasets = content.get("general", {}), content.get("datasets")
        if not isinstance(general, dict):
            self._problems.append(f"{self._path}: general: is no table. Write [general] above its keys.")
            general = {}
        tables = cast("list[object]", datasets if isinstance(datasets, list) else [])
        entries = [cast("Values", table) for table in tables if isinstance(table, dict)]
        if not entries or len(entries) < len(tables):
            advice = "Write [[datasets]], in two pairs of brackets, above the keys of each."
            self._problems.append(f"{self._path}: datasets: is no list of data sets. {advice}")
        return cast("Values", general), entries

    def check(self, table: Mapping[str, object], origin: str, allowed: frozenset[str]) -> Values:
        """The keys of a table that are allowed there, each with a legal value, in the form of the schema."""
        formed = in_one_form(table)
        problems = [
            *formed.problems,
            *(self._not_allowed(key) for key in formed.values if key not in allowed),
        ]
        self._problems += [f"{origin}: {problem}" for problem in problems]
        values = {key: value for key, value in formed.values.items() if key in allowed}
        for schema in (DatasetConfig, *self._schemas.values()):
            try:
                from_mapping(schema, _pick(values, schema), origin)
            except ConfigError as error:
                self._problems.append(str(error))
        return values

    def dataset(self, below: Mapping[str, object], entry: Mapping[str, object], origin: str) -> DatasetConfig:
        """What an entry says, over what is said below it."""
        values = {**below, **entry}
        own = from_mapping(DatasetConfig, _pick(values, DatasetConfig), origin)
        known = {
            name: from_mapping(keys, _pick(values, keys), origin) for name, keys in self._schemas.items()
        }
        dataset = replace(own, family_keys=known)
        self._problems += [f"{origin}: {problem}" for problem in problems_of(dataset, entry.keys())]
        return _located(dataset, str(self._path))

    def finish(self, datasets: list[DatasetConfig]) -> DatasetFile:
        self.raise_problems()
        return DatasetFile(path=self._path, datasets=tuple(datasets))

    def raise_problems(self) -> None:
        if self._problems:
            raise ConfigError("\n".join(self._problems))

    def _not_allowed(self, key: str) -> str:
        known = _OWN | self.keys_of_families
        return f"{key}: {_MOVE}" if key in known else f"{key}: unknown key. {suggestion(key, sorted(known))}"


def _names(schema: type) -> frozenset[str]:
    return frozenset(item.name for item in fields(schema)) - {"family_keys"}


def _pick(values: Mapping[str, object], schema: type) -> Values:
    return {key: value for key, value in values.items() if key in _names(schema)}


def _parse(path: Path) -> Values:
    """JSON where the name or the first character says so, else TOML."""
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise ConfigError(
            f"{path}: there is no such file of data sets, nor folder. {_neighbors(path)}"
        ) from error
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{path}: cannot be read ({error}). Name a file of data sets, or a folder."
        ) from error
    if (advice := _advice_for_data(path)) is not None:
        raise ConfigError(f"{path}: is no file of data sets (TOML or JSON). {advice}")
    is_json = path.suffix == ".json" or content.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"{"
    return _parse_json(content, path) if is_json else parse_toml(content, str(path))


def _advice_for_data(path: Path) -> str | None:
    """What to do with the data themselves, which are easily given in place of a file that tells of them."""
    if path.suffix == ".jsonl":
        return "Write one with [[datasets]], video_jsonl_file (or image_jsonl_file) and cache_directory."
    if path.suffix in (".csv", ".txt") or kind_of(str(path)) is not None:
        return f"Give the folder: {path.parent}"
    return None


def _parse_json(content: bytes, path: Path) -> Values:
    try:
        parsed: object = json.loads(content.decode("utf-8-sig"), object_pairs_hook=_each_once)
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not text in UTF-8. Save it as UTF-8.") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: is not valid JSON: {error}. Mend it or write TOML.") from error
    if not isinstance(parsed, dict):
        raise ConfigError(f'{path}: holds no data sets. Begin with {{"datasets": [{{...}}]}}.')
    return cast("Values", parsed)


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """As TOML has it: of two equal keys, neither is silently dropped."""
    table = dict(pairs)
    if len(table) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} is given twice")
    return table


def _neighbors(path: Path) -> str:
    files = [each.name for suffix in ("*.toml", "*.json") for each in path.parent.glob(suffix)]
    close = nearest(path.name, files)
    return f"Did you mean {path.parent / close}?" if close else "Check the path."


def _located(dataset: DatasetConfig, file: str) -> DatasetConfig:
    """The data set with its locations as they are from the working directory."""
    said = {key: getattr(dataset, key) for key in (*SOURCE_KEYS, "control_directory")}
    found = {key: resolve(value, file) for key, value in said.items() if value is not None}
    if dataset.cache_directory is not None:
        found["cache_directory"] = resolve(dataset.cache_directory, file)
        is_beside = any(
            found[key] == join(str(Path(file).parent), said[key]) for key in found if said.get(key)
        )
        path = local_path(found["cache_directory"])
        if is_beside and path is not None and not path.exists():
            found["cache_directory"] = join(str(Path(file).parent), str(path))
    return replace(dataset, **found)
