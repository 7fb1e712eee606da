"""What is known of a job, and which acts its state allows."""

import json
import time
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from reelwright.core.errors import UserError
from reelwright.jobs.order import Order

State = Literal["queued", "running", "paused", "done", "failed", "cancelled"]
Wish = Literal["", "pause at step", "pause at section", "cancel"]
PausePoint = Literal["step", "section"]
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
    owns_run: bool = False
    """Whether its run folder is for it alone: what was there of another order of this job gives way."""
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
    """How far it is: stage, step, total, seconds, clip, clips, loss, preview (a path), as far as known."""
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

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON can hold it."""
        return json.loads(json.dumps(asdict(self), default=str))


def job_event(state: State, message: str = "") -> dict[str, Any]:
    """What the log of a job says of the job itself."""
    return {"event": "job", "state": state, "message": message}


Changes = Mapping[str, object]
"""Column -> value."""


def check_state(job: Job, act: str, allowed: Collection[State]) -> None:
    """Raise JobStateError unless the job is in one of the states."""
    if job.state not in allowed:
        raise JobStateError(f"job {job.id}: is {job.state} and cannot be {act}. {_WAYS[job.state]}")


def paused(job: Job, at: PausePoint) -> Changes:
    """What changes when a job is to pause. Raises JobStateError."""
    check_state(job, "paused", ("queued", "running", "paused"))
    if job.wish == "cancel":
        raise JobStateError(f"job {job.id}: is being cancelled and cannot be paused.")
    if job.state == "queued":
        return {"state": "paused"}
    if job.holds and at == "section":  # it has to work until then
        return {"state": "running", "holds": 0, "wish": "pause at section"}
    return {"wish": f"pause at {at}"} if job.state == "running" else {}


def gone_on(job: Job) -> Changes:
    """What changes when a paused job is to go on, or need not pause after all. Raises JobStateError."""
    if job.state == "running" and job.wish.startswith("pause"):
        return {"wish": ""}
    check_state(job, "gone on with", ("paused",))
    if job.wish == "cancel":
        raise JobStateError(f"job {job.id}: is being cancelled and cannot go on.")
    if job.holds:
        return {"state": "running", "holds": 0}
    return {"state": "queued", "attempts": 0, "message": ""}


def cancelled(job: Job) -> Changes:
    """What changes when a job is to end for good. Raises JobStateError."""
    check_state(job, "cancelled", ("queued", "running", "paused", "cancelled"))
    if job.has_worker:
        return {"wish": "cancel"}
    return {} if job.is_final else {"state": "cancelled", "wish": "", "ended": time.time()}


def retried(job: Job) -> Changes:
    """What changes when a job that came to a bad end is queued again. Raises JobStateError."""
    check_state(job, "retried", ("failed", "cancelled"))
    return {"state": "queued", "attempts": 0, "message": "", "ended": None}


def held(job: Job) -> Changes:
    """What changes when a worker comes to a step at which it may be wished to hold."""
    if job.state == "running" and job.wish == "pause at step":
        return {"state": "paused", "wish": "", "holds": 1}
    return {}


def ended(job: Job, state: State, message: str) -> Changes:
    """What changes when a worker ended, which happens to a job once for each time that it is claimed.

    One that did not come to its end is what was wished of it: cancelled, or paused. Raises JobStateError for
    a job without a worker.
    """
    if not job.has_worker:
        raise JobStateError(f"job {job.id}: is {job.state} already.")
    if state in WAITING:
        state = _unfinished(job, state)
    return {
        **{"state": state, "wish": "", "holds": 0, "owner": "", "device": "", "message": message},
        "ended": time.time() if state in FINAL else None,
    }


def _unfinished(job: Job, state: State) -> State:
    if job.wish == "cancel":
        return "cancelled"
    return "paused" if job.holds or job.wish else state
