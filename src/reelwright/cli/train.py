"""`reelwright train FAMILY recipe.toml [--flags]`: train a denoiser, an autoencoder or text encoders."""

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
from reelwright.core.config import read_toml
from reelwright.core.errors import ConfigError
from reelwright.jobs.job import run_workflow
from reelwright.jobs.schemas import DENOISER, train_schema
from reelwright.protocols.train_configs import LearningConfig

_FLAG = "--stage"


@dataclass(frozen=True, kw_only=True)
class TrainLine:
    """The words after the family."""

    recipe: Annotated[Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="[recipe.toml]")] = None
    """A file with values for any of the flags."""
    config: Annotated[LearningConfig, tyro.conf.arg(name="")]


def run(arguments: Sequence[str], output: OutputFlags) -> int:
    """Run the command line after `reelwright train` and return the exit code."""
    if not arguments or arguments[0] in ("--help", "-h"):
        sys.stdout.write(_usage())
        return 0 if arguments else ConfigError.exit_code
    check_installed()
    family, line = parse(arguments)
    with open_sinks(output) as sinks:
        return run_workflow("train", {"family": family, "config": line.config}, sinks)


def parse(arguments: Sequence[str]) -> tuple[str, TrainLine]:
    """The family and what a command line asks of it. Raises ConfigError."""
    family, words = take_family("train", arguments)
    schema = train_schema(family, *_said_stage(words))
    return family, read_recipe_line(TrainLine, words, command="train", family=family, schema=schema)


def check_installed() -> None:
    """Raise ConfigError where what training needs is not there."""
    if find_spec("accelerate") is None:
        raise ConfigError("train: needs the package accelerate. Run: pip install 'reelwright[train]'")


def _said_stage(words: Sequence[str]) -> tuple[str, str]:
    """Which stage a command line asks for, itself or by its recipe, and where it says so."""
    for index, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name == _FLAG:
            return (value if equals else next(iter(words[index + 1 :]), "")), _FLAG
    for word in words:
        # A file of data sets is one too, but says no stage.
        if word.endswith(".toml") and Path(word).is_file() and "stage" in (said := read_toml(Path(word))):
            return str(said["stage"]), word
    return DENOISER, _FLAG


def _usage() -> str:
    return (
        "usage: reelwright train FAMILY recipe.toml [--flags]\n\n"
        f"Families: {', '.join(families.names())}. Data sets are encoded first: reelwright cache --help.\n"
        "reelwright train FAMILY --help lists the flags. Several processes: torchrun, accelerate launch.\n"
    )
