"""Command lines drawn by tyro from configuration types; its complaints become a ConfigError."""

import io
import re
import textwrap
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from reelwright.core.errors import ConfigError

T = TypeVar("T")

ORIGIN = "command line"

_EVERYWHERE = "As in every command: --json, --quiet, --debug. Values that begin with a dash: --flag=-value."
_FRAME = re.compile(r"\x1b\[[\d;]*m|[\u2500-\u257f]")
"""Colors, and the lines of boxes."""


def read_command_line(
    schema: type[T], arguments: Sequence[str], *, command: str, about: str, default: T | None = None
) -> T:
    """The schema's instance that the arguments describe, over `default` or the schema's own defaults.

    Raises ConfigError for unknown flags and missing values. Numbers and choices that are not legal stay text:
    `core.config.validate` names all of them at once with the nearest legal ones. `--help` exits.
    """
    complaint = io.StringIO()
    try:
        with redirect_stderr(complaint):
            return tyro.cli(
                schema,
                prog=f"reelwright {command}",
                description=f"{about}\n\n{_EVERYWHERE}",
                args=arguments,
                default=tyro.MISSING_NONPROP if default is None else default,
                registry=_LENIENT,
            )
    except SystemExit as stop:
        if not stop.code:
            raise
        raise ConfigError(_without_box(complaint.getvalue())) from None


def _without_box(text: str) -> str:
    """The lines inside a box of tyro, without its title and its rules of dashes."""
    lines = (_FRAME.sub("", line).rstrip() for line in text.splitlines()[1:])
    return textwrap.dedent("\n".join(line for line in lines if line.strip("- ")))


def _leave_to_validation(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    """How tyro reads numbers and choices: what is not legal stays text."""
    choices = _choices(info.type)
    if choices:
        return _word("{" + ",".join(choices) + "}", str)
    if info.type in (int, float):
        return _word(info.type.__name__.upper(), info.type)
    return None


def _word(metavar: str, kind: Callable[[str], object]) -> PrimitiveConstructorSpec[Any]:
    def read(words: list[str]) -> object:
        try:
            return kind(words[0])
        except ValueError:
            return words[0]

    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=metavar,
        instance_from_str=read,
        is_instance=lambda value: isinstance(value, str | int | float),
        str_from_instance=lambda value: [str(value)],
    )


def _choices(kind: object) -> tuple[str, ...]:
    """The words of a Literal or of a union of them, in their order; nothing for other types."""
    if get_origin(kind) is Literal:
        return get_args(kind)
    members = get_args(kind) if get_origin(kind) in (Union, UnionType) else ()
    found = [_choices(member) for member in members]
    return sum(found, ()) if all(found) else ()


_LENIENT = ConstructorRegistry()
_LENIENT.primitive_rule(_leave_to_validation)
