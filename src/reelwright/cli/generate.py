"""`reelwright generate FAMILY [recipe.toml] [--flags]`: make video."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from reelwright import families
from reelwright.cli.command_line import ORIGIN
from reelwright.cli.output import OutputFlags, open_sinks
from reelwright.cli.prompting import typed_lines
from reelwright.cli.recipe_line import read_recipe_line
from reelwright.core.errors import ConfigError
from reelwright.jobs.job import run_workflow
from reelwright.protocols.configs import GenerateConfig


@dataclass(frozen=True, kw_only=True)
class GenerateLine:
    """The words after the family."""

    recipe: Annotated[Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="[recipe.toml]")] = None
    """A file with values for any of the flags."""
    interactive: bool = False
    """Type prompts one after another, each with options of its own; models are loaded once."""
    config: Annotated[GenerateConfig, tyro.conf.arg(name="")]


def run(arguments: Sequence[str], output: OutputFlags) -> int:
    """Run the command line after `reelwright generate` and return the exit code."""
    if not arguments or arguments[0] in ("--help", "-h"):
        sys.stdout.write(_help())
        return 0 if arguments else ConfigError.exit_code
    family, line = parse(arguments)
    return start(family, line.config, output, is_interactive=line.interactive)


def start(family: str, config: GenerateConfig, output: OutputFlags, *, is_interactive: bool) -> int:
    """Make what the configuration asks for, or what is typed, and return the exit code."""
    job: dict[str, object] = {"family": family, "config": config}
    with open_sinks(output) as sinks:
        if is_interactive:
            return run_workflow("converse", {**job, "lines": typed_lines()}, sinks)
        return run_workflow("generate", job, sinks)


def parse(arguments: Sequence[str]) -> tuple[str, GenerateLine]:
    """The family and what a command line asks of it. Raises ConfigError."""
    family, *rest = arguments
    if family.startswith("-"):
        raise ConfigError(f"{ORIGIN}: the family comes first: {', '.join(families.names())}.")
    schema = families.configs(family).GENERATE
    return family, read_recipe_line(GenerateLine, rest, command="generate", family=family, schema=schema)


def _help() -> str:
    known = {name: families.configs(name).GENERATE.__doc__ for name in families.names()}
    width = max(map(len, known), default=0)
    listed = "".join(f"  {name:<{width}}  {about}\n" for name, about in known.items())
    return (
        "usage: reelwright generate FAMILY [recipe.toml] [--flags]\n\n"
        f"Families:\n{listed}\n"
        "reelwright generate FAMILY --help lists the flags of a family.\n"
    )
