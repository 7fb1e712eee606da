"""`reelwright bench FAMILY [recipe.toml] [--flags]`: what shortcuts save, and what they cost."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from reelwright import families
from reelwright.cli.actions import take_family
from reelwright.cli.command_line import ORIGIN
from reelwright.cli.output import OutputFlags, open_sinks
from reelwright.cli.recipe_line import read_recipe_line
from reelwright.core.config import validate
from reelwright.core.errors import ConfigError
from reelwright.jobs.job import run_workflow
from reelwright.protocols.bench_config import BenchConfig
from reelwright.protocols.configs import GenerateConfig


@dataclass(frozen=True, kw_only=True)
class BenchLine:
    """The words after the family."""

    recipe: Annotated[Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="[recipe.toml]")] = None
    """A recipe of `generate`, with values for any of the flags that follow."""
    bench: Annotated[BenchConfig, tyro.conf.arg(name="")] = field(default_factory=BenchConfig)
    config: Annotated[GenerateConfig, tyro.conf.arg(name="")]


def run(arguments: Sequence[str], output: OutputFlags) -> int:
    """Run the command line after `reelwright bench` and return the exit code."""
    if not arguments or arguments[0] in ("--help", "-h"):
        sys.stdout.write(
            "usage: reelwright bench FAMILY [recipe.toml] [--flags]\n\n"
            f"Families: {', '.join(families.names())}. reelwright bench FAMILY --help lists the flags.\n"
        )
        return 0 if arguments else ConfigError.exit_code
    family, line = parse(arguments)
    job: dict[str, object] = {"family": family, "config": line.config, "bench": line.bench}
    with open_sinks(output) as sinks:
        return run_workflow("bench", job, sinks)


def parse(arguments: Sequence[str]) -> tuple[str, BenchLine]:
    """The family and what is measured. Raises ConfigError."""
    family, words = take_family("bench", arguments)
    schema = families.configs(family).GENERATE
    line = read_recipe_line(
        BenchLine, words, command="bench", family=family, schema=schema, workflow="generate"
    )
    return family, BenchLine(recipe=line.recipe, bench=validate(line.bench, ORIGIN), config=line.config)
