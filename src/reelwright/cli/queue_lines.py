"""The words after `reelwright queue`, action by action."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from annotated_types import Ge

from reelwright.cli.command_line import ORIGIN, read_command_line
from reelwright.core.config import validate
from reelwright.protocols.studio_config import QUEUE


@dataclass(frozen=True, kw_only=True)
class InQueue:
    """What all actions may be told."""

    queue: Path = QUEUE
    """The folder of the queue."""


@dataclass(frozen=True, kw_only=True)
class OfJob(InQueue):
    """What the actions on one job may be told."""

    job: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="JOB")]
    """The job's id, how that begins, or its title."""


@dataclass(frozen=True, kw_only=True)
class AddLine(InQueue):
    """Put a command line into the queue: the words after these flags are those of generate, train, cache or
    resume. What is wrong with them is told at once."""

    title: str = ""
    """What the job is called; without it as its prompt."""


@dataclass(frozen=True, kw_only=True)
class ListLine(InQueue):
    """Show the jobs in their order."""

    state: tuple[Literal["queued", "running", "paused", "done", "failed", "cancelled"], ...] = ()
    """Only those in these states: queued, running, paused, done, failed, cancelled."""


@dataclass(frozen=True, kw_only=True)
class ShowLine(OfJob):
    """Show all that is known of a job."""

    events: bool = False
    """Show what happened while it ran instead, a line of JSON for each event."""


@dataclass(frozen=True, kw_only=True)
class EditLine(OfJob):
    """Change what a job that does not run is to do: flags of its command go over what it has."""


@dataclass(frozen=True, kw_only=True)
class MoveLine(OfJob):
    """Let a job wait elsewhere in the queue."""

    before: str = ""
    """The job it is to come before; without one it comes last."""


@dataclass(frozen=True, kw_only=True)
class PauseLine(OfJob):
    """Let a job pause. One that waits is passed over until it goes on."""

    at: Literal["step", "section"] = "step"
    """Hold between two steps with all in memory (step), or end when a section is kept, or all latents of a
    clip without sections, and free the memory (section)."""


@dataclass(frozen=True, kw_only=True)
class GoOnLine(OfJob):
    """Let a paused job go on."""


@dataclass(frozen=True, kw_only=True)
class CancelLine(OfJob):
    """End a job; what it made is kept."""


@dataclass(frozen=True, kw_only=True)
class RetryLine(OfJob):
    """Queue a job that failed or was cancelled again; it goes on in its run folder."""


@dataclass(frozen=True, kw_only=True)
class RemoveLine(OfJob):
    """Take a job out of the queue that does not run."""

    files: bool = False
    """Remove its run folder too."""


@dataclass(frozen=True, kw_only=True)
class RunLine(InQueue):
    """Do the jobs of the queue until Ctrl-C. Jobs that run then go on; who works on the queue next sees to
    them."""

    workers: Annotated[int, Ge(1)] = 1
    """How many jobs run at a time."""
    devices: tuple[str, ...] = ()
    """GPUs to share out among the workers, as in CUDA_VISIBLE_DEVICES."""
    until_done: bool = False
    """End when no job waits or runs any more; the exit code is 1 if one of them failed."""


LINES: Mapping[str, type[InQueue]] = {
    "add": AddLine,
    "list": ListLine,
    "show": ShowLine,
    "edit": EditLine,
    "move": MoveLine,
    "pause": PauseLine,
    "go-on": GoOnLine,
    "cancel": CancelLine,
    "retry": RetryLine,
    "remove": RemoveLine,
    "run": RunLine,
}


def read_line(action: str, words: Sequence[str]) -> Any:  # noqa: ANN401 - one of the lines
    """The line that the words after an action make. Raises ConfigError."""
    schema = LINES[action]
    about = " ".join(str(schema.__doc__).split())
    return validate(read_command_line(schema, words, command=f"queue {action}", about=about), ORIGIN)
