"""`reelwright doctor [FAMILY]`: what this machine can do, and the command that mends what is wrong."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from reelwright.cli.command_line import ORIGIN, read_command_line
from reelwright.cli.output import OutputFlags, open_sinks
from reelwright.core.config import validate
from reelwright.jobs.job import run_workflow


@dataclass(frozen=True, kw_only=True)
class DoctorLine:
    """Tell what this machine has and can do, and the command that mends each problem. It needs no network."""

    family: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="[FAMILY]")] = ""
    """The family whose models are looked for; all of them without."""
    out: Path = Path("outputs")
    """Where outputs are to go, which needs room."""
    fits: bool = False
    """Ask the planner of each model with which options it fits into free memory; this takes a while."""


def run(arguments: Sequence[str], output: OutputFlags) -> int:
    """Run the command line after `reelwright doctor` and return the exit code."""
    line = parse(arguments)
    with open_sinks(output) as sinks:
        return run_workflow("doctor", vars(line), sinks)


def parse(arguments: Sequence[str]) -> DoctorLine:
    """What to look at. Raises ConfigError."""
    about = " ".join(str(DoctorLine.__doc__).split())
    return validate(read_command_line(DoctorLine, arguments, command="doctor", about=about), ORIGIN)
