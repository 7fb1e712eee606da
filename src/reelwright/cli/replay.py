"""`reelwright replay FILE`: make an output again from the record inside it."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from reelwright.cli.flags import ORIGIN, flags_of, parse_flags
from reelwright.cli.help_page import help_page
from reelwright.cli.output import OutputFlags, open_sinks
from reelwright.core.errors import ConfigError
from reelwright.jobs.job import run_workflow


@dataclass(frozen=True, kw_only=True)
class ReplayFlags:
    """Make an output again: the same bytes, given the same model, inputs and library versions."""

    image: Path | None = None
    """Where the first frame lies now, if it was moved."""
    end_image: Path | None = None
    """Where the last frame lies now, if it was moved."""
    video: Path | None = None
    """Where the clip lies now, if it was moved."""
    out: Path = Path("outputs")
    """Folder in which the run's own folder is made."""
    run: Path | None = None
    """The run's own folder, instead of a new one under `out`."""


def run(arguments: Sequence[str], output: OutputFlags) -> int:
    """Run the command line after `reelwright replay` and return the exit code."""
    asks_help = "--help" in arguments or "-h" in arguments
    if asks_help or not arguments:
        about = f"{ReplayFlags.__doc__} FILE is a video, picture or latent that Reelwright wrote."
        sys.stdout.write(help_page("replay FILE [--flags]", about, flags_of(ReplayFlags()), {}))
        return 0 if asks_help else ConfigError.exit_code
    file, flags = parse(arguments)
    workflow_arguments = {field.name: getattr(flags, field.name) for field in fields(flags)}
    with open_sinks(output) as sinks:
        return run_workflow("replay", {"file": file, **workflow_arguments}, sinks)


def parse(arguments: Sequence[str]) -> tuple[Path, ReplayFlags]:
    """The file to make again and the flags. Raises ConfigError."""
    parsed = parse_flags(arguments, ReplayFlags())
    if len(parsed.words) != 1:
        raise ConfigError(f"{ORIGIN}: replay takes one FILE, not {len(parsed.words)}.")
    return Path(parsed.words[0]), parsed.config
