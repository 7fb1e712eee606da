"""`reelwright curves RUN ...`: draw how training went."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from reelwright.cli.command_line import ORIGIN, read_command_line
from reelwright.cli.output import OutputFlags, open_sinks
from reelwright.core.config import validate
from reelwright.core.errors import ConfigError
from reelwright.jobs.job import run_workflow
from reelwright.protocols.curves_config import CurvesConfig


@dataclass(frozen=True, kw_only=True)
class CurvesLine:
    """Draw how loss, quality and other numbers of training runs went, one chart below the other."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN")] = ()
    """Folders of runs, or files of metrics; each is a line of its own."""
    config: Annotated[CurvesConfig, tyro.conf.arg(name="")] = field(default_factory=CurvesConfig)


def run(arguments: Sequence[str], output: OutputFlags) -> int:
    """Run the command line after `reelwright curves` and return the exit code."""
    line = parse(arguments)
    with open_sinks(output) as sinks:
        return run_workflow("curves", vars(line), sinks)


def parse(arguments: Sequence[str]) -> CurvesLine:
    """The runs and the flags. Raises ConfigError."""
    about = " ".join(str(CurvesLine.__doc__).split())
    line = read_command_line(CurvesLine, arguments, command="curves", about=about)
    if not line.runs:
        raise ConfigError("curves: name folders of training runs.")
    return CurvesLine(runs=line.runs, config=validate(line.config, ORIGIN))
