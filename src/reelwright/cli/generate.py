"""`reelwright generate FAMILY [recipe.toml] [--flags]`: make video."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from reelwright import families
from reelwright.cli.command_line import ORIGIN, read_command_line
from reelwright.cli.output import OutputFlags, open_sinks
from reelwright.core.config import read_recipe, validate
from reelwright.core.errors import ConfigError
from reelwright.jobs.job import run_workflow
from reelwright.protocols.configs import GenerateConfig


@dataclass(frozen=True, kw_only=True)
class GenerateLine:
    """The words after the family."""

    recipe: Annotated[Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="[recipe.toml]")] = None
    """A file with values for any of the flags."""
    config: Annotated[GenerateConfig, tyro.conf.arg(name="")]


def run(arguments: Sequence[str], output: OutputFlags) -> int:
    """Run the command line after `reelwright generate` and return the exit code."""
    if not arguments or arguments[0] in ("--help", "-h"):
        sys.stdout.write(_help())
        return 0 if arguments else ConfigError.exit_code
    family, config = parse(arguments)
    with open_sinks(output) as sinks:
        return run_workflow("generate", {"family": family, "config": config}, sinks)


def parse(arguments: Sequence[str]) -> tuple[str, GenerateConfig]:
    """The family and its configuration that a command line asks for. Raises ConfigError."""
    family, *rest = arguments
    if family.startswith("-"):
        raise ConfigError(f"{ORIGIN}: the family comes first: {', '.join(families.names())}.")
    schema = families.configs(family).GENERATE
    line = _read(family, rest, schema())
    if line.recipe is not None:
        identity = {"workflow": "generate", "family": family}
        line = _read(family, rest, read_recipe(line.recipe, schema, identity))
    return family, validate(line.config, ORIGIN)


def _read(family: str, arguments: Sequence[str], default: GenerateConfig) -> GenerateLine:
    about = f"{default.__doc__} Flags go over the recipe, the recipe over the defaults shown here."
    return read_command_line(
        GenerateLine,
        arguments,
        command=f"generate {family}",
        about=about,
        default=GenerateLine(config=default),
    )


def _help() -> str:
    known = {name: families.configs(name).GENERATE.__doc__ for name in families.names()}
    width = max(map(len, known), default=0)
    listed = "".join(f"  {name:<{width}}  {about}\n" for name, about in known.items())
    return (
        "usage: reelwright generate FAMILY [recipe.toml] [--flags]\n\n"
        f"Families:\n{listed}\n"
        "reelwright generate FAMILY --help lists the flags of a family.\n"
    )
