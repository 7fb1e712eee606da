"""Between configuration dataclasses and the mappings that recipes, command lines and stored runs hold.

A schema is a frozen dataclass with a docstring under each field and bounds as `Annotated[int, Ge(1)]`.
Every problem of a mapping is reported at once, each with its origin, its key and the nearest legal value.
"""

import ast
import inspect
import json
import math
import re
import textwrap
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints

import tomli_w
from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from reelwright.core.errors import ConfigError, nearest, suggestion

T = TypeVar("T")

_IDENTITY_KEYS = ("workflow", "family")
_EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "text in quotes",
    "path_type": "a path in quotes",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a table",
    "dataclass_type": "a table of settings",
}
_BOUNDS = {
    "greater_than_equal": ("too small", "Use {ge} or more."),
    "greater_than": ("too small", "Use more than {gt}."),
    "less_than_equal": ("too large", "Use {le} or less."),
    "less_than": ("too large", "Use less than {lt}."),
    "multiple_of": ("not a multiple", "Use a multiple of {multiple_of}."),
}


def from_mapping(schema: type[T], mapping: Mapping[str, object], origin: str, default: T | None = None) -> T:
    """The schema's instance that `mapping` describes, over `default` or the schema's own defaults.

    Dashes and underscores in keys are the same. Raises one ConfigError with all problems, each line
    "origin: key: what. do this".
    """
    walked = _walk(schema, mapping)
    values = walked.known if default is None else _merge(_dump(default), walked.known)
    problems = [*walked.problems]
    try:
        config = _adapter(schema).validate_json(json.dumps(values, default=str), strict=True)
    except ValidationError as error:
        problems += _explain_all(error.errors(), schema)
    else:
        if not problems:
            return config
    raise ConfigError("\n".join(f"{origin}: {problem}" for problem in problems))


def validate(config: T, origin: str) -> T:
    """The same configuration, its values checked against the schema. Raises ConfigError."""
    return from_mapping(type(config), _dump(config), origin)


def read_recipe(
    path: Path, schema: type[T], identity: Mapping[str, str] | None = None, default: T | None = None
) -> T:
    """The configuration in a TOML file that may give any subset of the keys, over `default`.

    A recipe may say which `workflow` and `family` it is for; what `identity` says must agree.
    Raises ConfigError for a missing file, broken TOML, unknown keys and illegal values.
    """
    mapping = read_toml(path)
    for key in _IDENTITY_KEYS:
        said = mapping.pop(key, None)
        wanted = (identity or {}).get(key)
        if said is not None and wanted is not None and said != wanted:
            raise ConfigError(
                f"{path}: {key}: this recipe is for {said}, not {wanted}. Give {said} on the command line."
            )
    return from_mapping(schema, mapping, str(path), default)


def read_toml(path: Path) -> dict[str, object]:
    """The content of a TOML file; a byte order mark is accepted. Raises ConfigError."""
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: there is no such recipe. {_neighbors(path)}") from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}). Name a TOML file.") from error
    return parse_toml(content, str(path))


def parse_toml(content: bytes, origin: str) -> dict[str, object]:
    """What TOML in UTF-8 says; a byte order mark is accepted. Raises ConfigError that names `origin`."""
    try:
        return tomllib.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{origin}: is not text in UTF-8. Name a TOML file, or save it as UTF-8."
        ) from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{origin}: is not valid TOML: {error}. Text and paths need quotes.") from error


def to_mapping(config: object, *, only_changed: bool = False) -> dict[str, Any]:
    """The configuration as nested data that JSON and TOML can hold; what is None is left out.

    With `only_changed`, only the values that differ from the schema's defaults.
    """
    mapping = _without_none(_dump(config))
    return _difference(mapping, _defaults(type(config))) if only_changed else mapping


def to_toml(config: object, identity: Mapping[str, str] | None = None) -> str:
    """The whole configuration as a recipe, headed by its `identity` (workflow and family)."""
    return tomli_w.dumps({**(identity or {}), **to_mapping(config)})


def field_docs(schema: type) -> dict[str, str]:
    """The docstring under each field of a schema, those of its base classes included."""
    docs: dict[str, str] = {}
    for owner in reversed(schema.__mro__[:-1]):
        docs |= _own_field_docs(owner)
    return docs


def listed_schema(schema: type, name: str) -> type | None:
    """The schema of each table in a field that is a list of them; None for other fields."""
    return _lists_of_groups(schema).get(name)


@dataclass(frozen=True)
class _Walked:
    """The keys that a schema knows, normalized, and what is wrong with the others."""

    known: dict[str, object]
    problems: list[str]


def _walk(schema: type, mapping: Mapping[str, object], path: tuple[str, ...] = ()) -> _Walked:
    groups, names = _groups(schema), [field.name for field in _fields(schema)]
    walked = _Walked({}, [])
    for raw, value in mapping.items():
        key = raw.replace("-", "_")
        dotted = ".".join((*path, raw))
        if key not in names:
            walked.problems.append(f"{dotted}: unknown key. {_similar_key(key, path, names, schema)}")
        elif key in walked.known:
            walked.problems.append(f"{dotted}: given twice. Keep one.")
        elif isinstance(value, Mapping) and key in groups:
            inner = _walk(groups[key], value, (*path, key))
            walked.known[key] = inner.known
            walked.problems.extend(inner.problems)
        elif key in (lists := _lists_of_groups(schema)) and (tables := _tables(value)) is not None:
            inners = [_walk(lists[key], each, (*path, key, str(at))) for at, each in enumerate(tables)]
            walked.known[key] = [inner.known for inner in inners]
            walked.problems.extend(problem for inner in inners for problem in inner.problems)
        elif isinstance(value, float) and not math.isfinite(value):
            walked.problems.append(f"{dotted}: {value} is not finite. Use a number.")
        else:
            walked.known[key] = value
    return walked


def _similar_key(key: str, path: tuple[str, ...], names: list[str], schema: type) -> str:
    """Where the key would be right: beside its place, or inside a group of the same schema."""
    close = nearest(key, names)
    inside = {name: group for group, inner in _groups(schema).items() for name in _names(inner)}
    if close is None and (deeper := nearest(key, inside)) is not None:
        return f"Did you mean {'.'.join((*path, inside[deeper], deeper))}?"
    if close is None and path:
        return f"Keys of {'.'.join(path)}: {', '.join(names)}. Other keys belong above the first [table]."
    return f"Did you mean {'.'.join((*path, close))}?" if close else suggestion(key, names)


def _explain_all(details: Iterable[ErrorDetails], schema: type) -> list[str]:
    """One line for each key that pydantic refused; a union is refused once for each of its members."""
    by_key: dict[tuple[str, ...], list[ErrorDetails]] = {}
    for detail in details:
        by_key.setdefault(_key_of(detail, schema), []).append(detail)
    return [_explain(key, found) for key, found in by_key.items()]


def _key_of(detail: ErrorDetails, schema: type) -> tuple[str, ...]:
    """The part of pydantic's location that names fields; the rest names members of unions."""
    key: tuple[str, ...] = ()
    group: type | None = schema
    for part in map(str, detail["loc"]):
        if group is None:
            break
        if key and part.isdecimal():  # which of a list of tables
            key = (*key, part)
        elif part in _names(group):
            key, group = (*key, part), (_groups(group) | _lists_of_groups(group)).get(part)
        else:
            break
    return key


def _explain(key: tuple[str, ...], details: Sequence[ErrorDetails]) -> str:
    """What pydantic found at one key, as "key: what. do this"."""
    literals = [detail for detail in details if detail["type"] == "literal_error"]
    what = _explain_choice(literals) if literals else _explain_value(details[0])
    return f"{'.'.join(key)}: {what}" if key else what


def _explain_choice(details: Sequence[ErrorDetails]) -> str:
    given = details[0]["input"]
    choices = [
        choice for detail in details for choice in re.findall(r"'([^']*)'", _facts(detail)["expected"])
    ]
    close = nearest(given, choices) if isinstance(given, str) else None
    return f"{given!r} is not one of {', '.join(choices)}." + (f" Did you mean {close}?" if close else "")


def _explain_value(detail: ErrorDetails) -> str:
    kind, given = detail["type"], detail["input"]
    if kind in _BOUNDS:
        what, advice = _BOUNDS[kind]
        return f"{given!r} is {what}. {advice.format(**_facts(detail))}"
    if kind in _EXPECTED:
        return f"{given!r} is not {_EXPECTED[kind]}."
    if kind == "missing":
        return "is missing. Give it a value."
    return detail["msg"].removeprefix("Value error, ")


def _facts(detail: ErrorDetails) -> dict[str, Any]:
    return detail.get("ctx", {})


def _neighbors(path: Path) -> str:
    """Which recipe beside a missing one may have been meant."""
    close = nearest(path.name, (file.name for file in path.parent.glob("*.toml")))
    return f"Did you mean {path.parent / close}?" if close else "Check the path."


def _dump(config: object) -> dict[str, Any]:
    return _adapter(type(config)).dump_python(config, mode="json", warnings=False)


@lru_cache(maxsize=256)
def _adapter(schema: type[Any]) -> TypeAdapter[Any]:
    """What reads and writes a schema; to build one takes most of the time of reading."""
    return TypeAdapter(schema)


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        below = base.get(key)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            merged[key] = _merge(below, value)
        else:
            merged[key] = value
    return merged


def _difference(mapping: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    changed: dict[str, Any] = {}
    for key, value in mapping.items():
        default = defaults.get(key)
        if isinstance(value, Mapping) and isinstance(default, Mapping):
            if inner := _difference(value, default):
                changed[key] = inner
        elif key not in defaults or value != default:
            changed[key] = value
    return changed


def _without_none(mapping: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _filled(value) for key, value in mapping.items() if value is not None}


def _filled(value: object) -> object:
    """A value in which tables, those in lists too, have no keys without values."""
    if isinstance(value, Mapping):
        return _without_none(cast("Mapping[str, Any]", value))
    return [_filled(each) for each in cast("list[object]", value)] if isinstance(value, list) else value


def _defaults(schema: type) -> dict[str, Any]:
    """The schema's defaults as `to_mapping` would write them; fields that must be given are left out."""
    values: dict[str, Any] = {}
    for field in _fields(schema):
        default = field.default_factory() if field.default_factory is not MISSING else field.default
        if default is not MISSING and default is not None:
            values[field.name] = _without_none(_dump({field.name: default}))[field.name]
    return values


def _groups(schema: type) -> dict[str, type]:
    """The fields of a schema that are schemas themselves."""
    hints: dict[str, type] = get_type_hints(schema)
    return {name: hint for name, hint in hints.items() if is_dataclass(hint)}


def _lists_of_groups(schema: type) -> dict[str, type]:
    """The fields of a schema that are lists of schemas, `[[name]]` in TOML."""
    hints: dict[str, Any] = get_type_hints(schema)
    items = {name: get_args(hint)[0] for name, hint in hints.items() if get_origin(hint) is tuple}
    return {name: item for name, item in items.items() if is_dataclass(item) and isinstance(item, type)}


def _tables(value: object) -> list[Mapping[str, object]] | None:
    """A list of tables; None for anything else."""
    items = cast("list[object] | tuple[object, ...]", value) if isinstance(value, list | tuple) else [None]
    tables = [cast("Mapping[str, object]", each) for each in items if isinstance(each, Mapping)]
    return tables if len(tables) == len(items) else None


def _names(schema: type) -> Iterable[str]:
    return (field.name for field in _fields(schema))


def _fields(schema: type) -> tuple[Field[Any], ...]:
    return fields(schema)


@cache
def _own_field_docs(owner: type) -> Mapping[str, str]:
    docs: dict[str, str] = {}
    body = ast.parse(textwrap.dedent(inspect.getsource(owner))).body[0]
    assert isinstance(body, ast.ClassDef)
    for statement, following in zip(body.body, body.body[1:], strict=False):
        match statement, following:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                docs[name] = inspect.cleandoc(text)
            case _:
                pass
    return docs
