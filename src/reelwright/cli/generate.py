"""`reelwright generate FAMILY [recipe.toml] [--flags]`: make video."""

import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from reelwright import families
from reelwright.cli.flags import ORIGIN, Parsed, flags_of, parse_flags
from reelwright.cli.help_page import help_page
from reelwright.cli.output import OutputFlags, open_sinks
from reelwright.core.config import read_recipe
from reelwright.core.errors import ConfigError
from reelwright.jobs.job import run_workflow
from reelwright.protocols.configs import GenerateConfig

TITLES = {
    "model": "Model",
    "prompt": "What to show",
    "image": "Images and clips to start from",
    "height": "Size and length",
    "steps": "Denoising",
    "format": "Output",
}
"""First field of each group of the shared flags -> the group's title in --help."""


def run(arguments: Sequence[str], output: OutputFlags) -> int:
    """Run the command line after `reelwright generate` and return the exit code."""
    asks_help = "--help" in arguments or "-h" in arguments
    if asks_help or not arguments:
        named = [word for word in arguments[:1] if not word.startswith("-")]
        sys.stdout.write(_family_help(named[0]) if named else _help())
        return 0 if asks_help else ConfigError.exit_code
    family, config = parse(arguments)
    with open_sinks(output) as sinks:
        return run_workflow("generate", {"family": family, "config": config}, sinks)


def parse(arguments: Sequence[str]) -> tuple[str, GenerateConfig]:
    """The family and its configuration that a command line asks for. Raises ConfigError."""
    family, *rest = arguments
    if family.startswith("-"):
        raise ConfigError(f"{ORIGIN}: the family comes first: {', '.join(families.names())}.")
    schema = families.configs(family).GENERATE
    parsed: Parsed[GenerateConfig] = parse_flags(rest, schema())
    if len(parsed.words) > 1:
        raise ConfigError(
            f"{ORIGIN}: {parsed.words[1]}: one recipe is enough. Text with spaces needs quotes."
        )
    if parsed.words:
        identity = {"workflow": "generate", "family": family}
        recipe = read_recipe(Path(parsed.words[0]), schema, identity)
        parsed = parse_flags(rest, recipe)
    return family, parsed.config


def _help() -> str:
    known = {name: families.configs(name).GENERATE.__doc__ for name in families.names()}
    width = max(map(len, known), default=0)
    listed = "".join(f"  {name:<{width}}  {about}\n" for name, about in known.items())
    return (
        "usage: reelwright generate FAMILY [recipe.toml] [--flags]\n\n"
        f"Families:\n{listed}\n"
        "reelwright generate FAMILY --help lists the flags of a family.\n"
    )


def _family_help(family: str) -> str:
    schema = families.configs(family).GENERATE
    shared = {field.name for field in fields(GenerateConfig)}
    own = [field.name for field in fields(schema) if field.name not in shared]
    titles = TITLES | dict.fromkeys(own[:1], f"Only {family}")
    return help_page(
        f"generate {family} [recipe.toml] [--flags]",
        f"{schema.__doc__} Flags go over the recipe, the recipe over the defaults shown here.",
        flags_of(schema()),
        titles,
    )
