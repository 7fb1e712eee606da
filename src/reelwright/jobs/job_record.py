"""What is known of a job, and which acts its state allows."""

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from reelwright.core.errors import UserError
from reelwright.jobs.order import Order

State = Literal["queued", "running", "paused", "done", "failed", "cancelled"]
Wish = Literal["", "pause at step", "pause at section", "cancel"]
FINAL: tuple[State, ...] = ("done", "failed", "cancelled")
WAITING: tuple[State, ...] = ("queued", "paused")

_WAYS: dict[State, str] = {
    "queued": "It can be moved, edited, paused or cancelled.",
    "running": "It can be paused or cancelled.",
    "paused": "It can go on, be edited or be cancelled.",
    "done": "It can be removed, or added again as a new job.",
    "failed": "It can be edited, retried or removed.",
    "cancelled": "It can be edited, retried or removed.",
}


class UnknownJobError(UserError):
    """No job of the queue has this id."""


class JobStateError(UserError):
    """The state of a job does not allow what was asked."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One job as it is now. Times are seconds since 1970."""

    id: str
    """Letters and digits."""
    order: Order
    title: str
    state: State
    wish: Wish = ""
    """What a running job was asked to do and has not done yet."""
    run: Path | None
    """Its run folder; None for workflows without one."""
    folder: Path
    """Where relative paths of its order count from."""
    place: int
    """Jobs are done in the order of their places."""
    created: float
    started: float | None = None
    """The last time that it was."""
    ended: float | None = None
    attempts: int = 0
    """How often it was started since it was added, edited, retried or told to go on."""
    message: str = ""
    """Why it failed, or why it was started again."""
    progress: dict[str, Any] = field(default_factory=dict[str, Any])
    """The last StageStarted or StepDone (stage, step, total, seconds), and the path of the last preview."""
    holds: bool = False
    """Whether its worker waits between two steps with all in memory."""
    owner: str = ""
    """The dispatcher that looks after its worker."""
    device: str = ""
    """The GPU it was given."""

    @property
    def is_final(self) -> bool:
        return self.state in FINAL

    @property
    def has_worker(self) -> bool:
        return self.state == "running" or self.holds


def check_state(job: Job, act: str, allowed: Collection[State]) -> None:
    """Raise JobStateError unless the job is in one of the states."""
    if job.state not in allowed:
        raise JobStateError(f"job {job.id}: is {job.state} and cannot be {act}. {_WAYS[job.state]}")
