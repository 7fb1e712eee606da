"""Commands that take a family, a recipe and flags: flags go over the recipe, the recipe over the defaults."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

from reelwright import families
from reelwright.cli.command_line import ORIGIN, read_command_line
from reelwright.cli.preset_layer import with_preset_below
from reelwright.core.config import read_recipe, validate
from reelwright.core.errors import ConfigError
from reelwright.protocols.configs import GenerateConfig


class RecipeLine(Protocol):
    """The words after the family: a dataclass."""

    @property
    def recipe(self) -> Path | None: ...

    @property
    def config(self) -> Any: ...  # noqa: ANN401 - of the schema


L = TypeVar("L", bound=RecipeLine)
_IN_A_LIST = re.compile(r"--[a-z_-]+\.\d+\.")


def read_recipe_line(
    line_type: type[L],
    words: Sequence[str],
    *,
    command: str,
    family: str,
    schema: type[Any],
    workflow: str = "",
) -> L:
    """The line that the words after the family make; `workflow` is what recipes name, `command` unless set.

    Raises ConfigError.
    """

    def read(default: object) -> Any:  # noqa: ANN401 - a line
        return read_command_line(
            line_type,
            words,
            command=f"{command} {family}",
            about=f"{schema.__doc__} Flags go over the recipe, the recipe over the defaults shown here.",
            default=line_type(config=default),  # pyright: ignore[reportCallIssue]
        )

    line: Any = None
    if any(map(_IN_A_LIST.match, words)):  # which only the recipe that has the list can tell
        recipe = _named_first(words)
    else:
        line = read(schema())
        recipe = line.recipe
    identity = {"workflow": workflow or command, "family": family}
    if recipe is not None:
        line = read(read_recipe(recipe, schema, identity))
    if isinstance(line.config, GenerateConfig):

        def read_over(default: GenerateConfig) -> Any:  # noqa: ANN401 - a line
            return read(default if recipe is None else read_recipe(recipe, schema, identity, default))

        line = with_preset_below(line, schema(), read_over, families.configs(family).PRESETS)
    return replace(line, config=validate(line.config, ORIGIN))


def _named_first(words: Sequence[str]) -> Path:
    """The recipe, where it is the first word. Raises ConfigError."""
    if words[0].startswith("-"):
        flag = next(filter(_IN_A_LIST.match, words))
        raise ConfigError(f"{ORIGIN}: {flag}: changes a recipe. Name that before all flags.")
    return Path(words[0])
