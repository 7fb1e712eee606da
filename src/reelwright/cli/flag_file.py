"""Flags of another program's command line in a TOML file: keys are their names, tables do not matter."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from reelwright.core.config import read_toml
from reelwright.core.errors import ConfigError, suggestion
from reelwright.protocols.guide_flags import GuideCommand, GuideFlag


def values_of_file(command: GuideCommand, given: Mapping[str, Any]) -> dict[str, Any]:
    """Flag -> value, of the file that the command line names; nothing if it names none.

    Raises one ConfigError with all keys that are no flags, values that are none of theirs, and keys that
    stand in two tables.
    """
    if not command.file_flag or command.file_flag not in given:
        return {}
    path = Path(given[command.file_flag])
    # Users of the other program may leave the suffix out.
    path = path if path.suffix == ".toml" else path.with_name(f"{path.name}.toml")
    flags = {flag.name: flag for flag in command.flags if flag.name != command.file_flag}
    values: dict[str, Any] = {}
    problems: list[str] = []
    for key, value in _flat(read_toml(path)):
        name = key.replace("-", "_")
        if name not in flags:
            problems.append(f"{key}: is no flag. {suggestion(key, flags)}")
        elif name in values:
            problems.append(f"{key}: is given twice. Keep one.")
        else:
            try:
                values[name] = _value(flags[name], value)
            except ValueError as error:
                problems.append(f"{key}: {value!r} is {error}.")
    if problems:
        raise ConfigError("\n".join(f"{path}: {problem}" for problem in problems))
    # A switch that is off is a switch that was not given.
    return {name: value for name, value in values.items() if value is not False}


def _flat(table: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value)
        else:
            yield key, value


def _value(flag: GuideFlag, value: object) -> object:
    """The value as the command line would read it. Raises ValueError that says what it is not."""
    if flag.count == "switch":
        if not isinstance(value, bool):
            raise ValueError("not true or false")
        return value
    if flag.count == "one":
        return _word(flag, value)
    words = [_word(flag, each) for each in (value if isinstance(value, list) else [value])]
    if isinstance(flag.count, int) and len(words) != flag.count:
        raise ValueError(f"not a list of {flag.count}")
    return words


def _word(flag: GuideFlag, value: object) -> object:
    if isinstance(value, bool | list):
        raise ValueError("not one value" if isinstance(value, list) else "no value of this flag")
    try:
        word = flag.kind(str(value))
    except ValueError as error:
        raise ValueError("no value of this flag") from error
    if flag.choices and word not in flag.choices:
        raise ValueError(f"none of {', '.join(flag.choices)}")
    return word
