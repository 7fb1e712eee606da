"""The flags that a configuration schema stands for, and how a command line's words become one.

A field `num_frames` is `--num-frames N`, a field of a nested group `--execution.device NAME`, and a boolean
`--strict` or `--no-strict`. Dashes and underscores are the same.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    Generic,
    Literal,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

from annotated_types import Ge, Le

from reelwright.core.config import field_docs, from_mapping
from reelwright.core.errors import ConfigError, nearest

T = TypeVar("T")

ORIGIN = "command line"

_BOOLEANS = {"true": True, "false": False}


@dataclass(frozen=True, kw_only=True)
class Flag:
    """One field of a schema as a flag."""

    path: tuple[str, ...]
    """Names of the groups, then of the field."""
    kind: type
    """str, int, float, bool or Path."""
    choices: tuple[str, ...] = ()
    """The legal words, where the field is a Literal."""
    optional: bool = False
    """Whether the field may be None; an empty word means that."""
    minimum: float | None = None
    maximum: float | None = None
    documentation: str = ""
    default: object = None

    @property
    def name(self) -> str:
        return "--" + ".".join(self.path).replace("_", "-")

    @property
    def off_name(self) -> str:
        """The flag that turns a boolean off."""
        return "--" + ".".join((*self.path[:-1], f"no-{self.path[-1]}")).replace("_", "-")


@dataclass(frozen=True)
class Parsed(Generic[T]):
    """A command line: the words that belong to no flag, and the configuration."""

    words: tuple[str, ...]
    config: T


def flags_of(default: object, path: tuple[str, ...] = ()) -> Iterator[Flag]:
    """The flags of a configuration, in the order of its fields; its values are the defaults."""
    schema: Any = type(default)
    docs = field_docs(schema)
    hints = get_type_hints(schema, include_extras=True)
    for name in (field.name for field in fields(schema)):
        value = getattr(default, name)
        if is_dataclass(value):
            yield from flags_of(value, (*path, name))
        else:
            yield _flag((*path, name), hints[name], docs.get(name, ""), value)


def parse_flags(arguments: Sequence[str], default: T) -> Parsed[T]:
    """Read flags over a default configuration.

    Raises one ConfigError that names every unknown flag, missing value and illegal value.
    """
    flags = _by_name(flags_of(default))
    words: list[str] = []
    values: dict[str, Any] = {}
    problems: list[str] = []
    remaining = deque(arguments)
    while remaining:
        word = remaining.popleft()
        if not word.startswith("-"):
            words.append(word)
            continue
        try:
            path, value = _read_flag(word, remaining, flags)
            _put(values, path, value)
        except ValueError as error:
            problems.append(f"{ORIGIN}: {error}")
    try:
        config = from_mapping(type(default), values, ORIGIN, default)
    except ConfigError as error:
        raise ConfigError("\n".join([*problems, str(error)])) from None
    if problems:
        raise ConfigError("\n".join(problems))
    return Parsed(tuple(words), config)


def _by_name(flags: Iterable[Flag]) -> dict[str, Flag]:
    named: dict[str, Flag] = {}
    for flag in flags:
        named[flag.name] = flag
        if flag.kind is bool:
            named[flag.off_name] = flag
    return named


def _read_flag(word: str, remaining: deque[str], flags: Mapping[str, Flag]) -> tuple[tuple[str, ...], object]:
    """The field that a flag sets and its value, taken from the flag itself or from the words after it."""
    raw, equals, attached = word.partition("=")
    name = raw.replace("_", "-").lower()
    flag = flags.get(name)
    if flag is None:
        if not equals and remaining and not remaining[0].startswith("--"):
            remaining.popleft()
        close = nearest(name.lstrip("-"), (known.removeprefix("--") for known in flags))
        raise ValueError(f"{raw}: unknown flag. " + (f"Did you mean --{close}?" if close else "See --help."))
    if flag.kind is bool:
        return flag.path, _BOOLEANS.get(attached, attached) if equals else name == flag.name
    if not equals and (not remaining or remaining[0].startswith("--")):
        raise ValueError(f"{raw}: has no value. Give one after it, or as {raw}=VALUE if it starts with --.")
    return flag.path, _read_value(attached if equals else remaining.popleft(), flag)


def _read_value(text: str, flag: Flag) -> object:
    """The text as the flag's kind; what cannot be read stays text, for the schema to refuse by name."""
    if flag.optional and not text:
        return None
    try:
        return flag.kind(text) if flag.kind in (int, float) else text
    except ValueError:
        return text


def _put(values: dict[str, Any], path: tuple[str, ...], value: object) -> None:
    for group in path[:-1]:
        values = values.setdefault(group, {})
    values[path[-1]] = value


def _flag(path: tuple[str, ...], hint: object, documentation: str, default: object) -> Flag:
    """A flag from a field's type: Annotated bounds, Literal choices and `| None` are taken apart."""
    bounds: list[object] = []
    if get_origin(hint) is Annotated:
        hint, *bounds = get_args(hint)
    members = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    kinds = [member for member in members if member is not NoneType]
    choices = tuple(str(word) for kind in kinds if get_origin(kind) is Literal for word in get_args(kind))
    return Flag(
        path=path,
        kind=str if choices else cast("type", kinds[0]),
        choices=choices,
        optional=NoneType in members,
        minimum=next((cast("float", bound.ge) for bound in bounds if isinstance(bound, Ge)), None),
        maximum=next((cast("float", bound.le) for bound in bounds if isinstance(bound, Le)), None),
        documentation=documentation,
        default=default,
    )
