"""`reelwright resume RUN`: go on where a run was stopped."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from annotated_types import Ge

from reelwright.cli.command_line import ORIGIN, read_command_line
from reelwright.cli.output import OutputFlags, open_sinks
from reelwright.core.config import validate
from reelwright.core.errors import ConfigError
from reelwright.jobs.job import run_workflow
from reelwright.jobs.stored_runs import free_branch, read_run


@dataclass(frozen=True, kw_only=True)
class ResumeLine:
    """Go on with a run that was stopped: what is finished stays, the rest is made. Training goes on from its
    last state.

    Or make a video again from one of its sections on, in its own run or in a new one.
    """

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """The run's folder."""
    redo_section: int | None = None
    """Make this section, counted from 0 or from the end by -1, and those made after it again, in this run."""
    branch: int | None = None
    """As redo_section, but in a new run; this one stays as it is."""
    prompt: str | None = None
    """What that section is to show now."""
    seed: Annotated[int, Ge(-1)] | None = None
    """Where that section's noise starts now; -1 goes on with the noise of the run, none draws a seed."""
    into: Path | None = None
    """The folder of the new run, with `branch`; else the run's own name with -branch after it."""


def run(arguments: Sequence[str], output: OutputFlags) -> int:
    """Run the command line after `reelwright resume` and return the exit code."""
    workflow, job = call_of(parse(arguments))
    with open_sinks(output) as sinks:
        return run_workflow(workflow, job, sinks)


def call_of(line: ResumeLine) -> tuple[str, dict[str, object]]:
    """The workflow that goes on with a run, and what it is called with. Raises ConfigError."""
    stored = read_run(line.run)
    job: dict[str, object] = {"family": stored.family, "config": stored.config}
    workflow = stored.workflow
    if (section := _section_to_redo(line)) is not None:
        if workflow != "generate":
            raise ConfigError(f"{line.run}: is a run of {workflow}, which has no sections to make again.")
        workflow = "redo"
        job |= {"section": section, "prompt": line.prompt, "seed": line.seed, "branch": _branch_folder(line)}
    return workflow, job


def parse(arguments: Sequence[str]) -> ResumeLine:
    """The run folder to go on with; whether it is one shows `read_run`. Raises ConfigError."""
    line = read_command_line(ResumeLine, arguments, command="resume", about=str(ResumeLine.__doc__))
    return validate(line, ORIGIN)


def _section_to_redo(line: ResumeLine) -> int | None:
    """The section that is made anew, if any. Raises ConfigError for flags that need one."""
    if line.redo_section is not None and line.branch is not None:
        raise ConfigError("branch: says already which section to redo. Leave out --redo-section.")
    section = line.redo_section if line.branch is None else line.branch
    if section is None:
        for name in ("prompt", "seed", "into"):
            if getattr(line, name) is not None:
                raise ConfigError(f"{name}: is for a section made anew. Say which with --redo-section.")
    if line.into is not None and line.branch is None:
        raise ConfigError("into: is the folder of a new run. Start one with --branch.")
    return section


def _branch_folder(line: ResumeLine) -> Path | None:
    """Where a branch goes: the folder that was named, or the first free one beside the run."""
    if line.branch is None or line.into is not None:
        return line.into
    return free_branch(line.run)
