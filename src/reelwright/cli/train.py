"""`reelwright train FAMILY recipe.toml [--flags]`: fine-tune a model."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import tyro

from reelwright import families
from reelwright.cli.actions import take_family
from reelwright.cli.output import OutputFlags, open_sinks
from reelwright.cli.recipe_line import read_recipe_line
from reelwright.core.errors import ConfigError
from reelwright.jobs.job import run_workflow
from reelwright.protocols.train_configs import TrainConfig


@dataclass(frozen=True, kw_only=True)
class TrainLine:
    """The words after the family."""

    recipe: Annotated[Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="[recipe.toml]")] = None
    """A file with values for any of the flags."""
    config: Annotated[TrainConfig, tyro.conf.arg(name="")]


def run(arguments: Sequence[str], output: OutputFlags) -> int:
    """Run the command line after `reelwright train` and return the exit code."""
    if not arguments or arguments[0] in ("--help", "-h"):
        sys.stdout.write(_usage())
        return 0 if arguments else ConfigError.exit_code
    if find_spec("accelerate") is None:
        raise ConfigError("train: needs the package accelerate. Run: pip install 'reelwright[train]'")
    family, line = parse(arguments)
    with open_sinks(output) as sinks:
        return run_workflow("train", {"family": family, "config": line.config}, sinks)


def parse(arguments: Sequence[str]) -> tuple[str, TrainLine]:
    """The family and what a command line asks of it. Raises ConfigError."""
    family, words = take_family("train", arguments)
    schema = families.configs(family).TRAIN
    return family, read_recipe_line(TrainLine, words, command="train", family=family, schema=schema)


def _usage() -> str:
    return (
        "usage: reelwright train FAMILY recipe.toml [--flags]\n\n"
        f"Families: {', '.join(families.names())}. Data sets are encoded first: reelwright cache --help.\n"
        "reelwright train FAMILY --help lists the flags. Several processes: torchrun, accelerate launch.\n"
    )
