"""The command line of another program as a table: each of its flags with what it is here."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Values = Mapping[str, Any]
"""Flag, without dashes and with underscores -> its value, or its default."""


@dataclass(frozen=True, kw_only=True)
class GuideFlag:
    """One flag under the name and with the default that users of the other program know."""

    name: str
    """With underscores; dashes are the same."""
    kind: Callable[[str], object] = str
    """Of each word."""
    count: int | Literal["one", "many", "switch"] = "one"
    """How many words follow."""
    default: object = None
    choices: tuple[str, ...] = ()
    sets: str | Callable[[Any], Mapping[str, object]] = ""
    """The field that takes the value as it is, with a dot for one of a group; or the fields it makes."""
    meaning: str = ""
    """What it does here, where no field tells."""
    notice: str = ""
    """What is said if it is given: that it has no effect, and what happens instead."""
    plain: tuple[object, ...] = ()
    """Values that ask for what happens anyway, and need no notice."""
    refusal: str = ""
    """Why it cannot be used, and what to do."""


@dataclass(frozen=True, kw_only=True)
class GuideRun:
    """One run that a command line asks for."""

    config: Any
    """Of the command's schema."""
    workflow: str = "generate"
    arguments: Mapping[str, object] = field(default_factory=dict[str, object])
    """What the workflow takes beside the family and the configuration."""
    config_name: str = "config"
    """What the workflow calls the configuration."""


@dataclass(frozen=True, kw_only=True)
class GuideCommand:
    """One program: what it is called, its flags, and what they come to."""

    name: str
    about: str
    schema: type[Any]
    """The dataclass whose fields the flags set."""
    flags: Sequence[GuideFlag]
    configure: Callable[[Values, Mapping[str, Any]], Sequence[GuideRun]]
    """(all values, the fields that the flags set) -> the runs. Raises ConfigError."""
    file_flag: str = ""
    """The flag that names a TOML file with values of the others."""
