"""One job in a process of its own: python -m reelwright.jobs.worker QUEUE_FOLDER ID."""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass, replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from reelwright.core.errors import ConfigError, UserError
from reelwright.core.events import Event, Failed, to_json
from reelwright.jobs.job import run_workflow
from reelwright.jobs.order import arguments_of
from reelwright.jobs.queue import Job, JobQueue, State
from reelwright.jobs.wishes import Wishes

LOCK = "lock"
"""In a job's folder: held by its worker, and by nobody when that is dead."""
_PATIENCE = 60.0
"""Seconds to wait for the lock, which a dispatcher takes for a blink."""
_STOPPED = (130, 143)


def main(arguments: Sequence[str]) -> int:
    """Do a job that is to run, and return its exit code; 0 at once where it is not to run any more."""
    folder, identity = arguments
    queue = JobQueue(Path(folder))
    lock = FileLock(queue.folder_of(identity) / LOCK)
    try:
        lock.acquire(timeout=_PATIENCE)
    except Timeout:
        return 0  # another worker does it
    with lock:
        job = queue.get(identity)
        return _work(queue, job) if job.state == "running" else 0


def _work(queue: JobQueue, job: Job) -> int:
    log = queue.log_of(job.id)
    log.append(job_event("running", f"attempt {job.attempts}"))
    failures: list[str] = []

    def keep(event: Event, /) -> None:
        log.append(to_json(event))
        if isinstance(event, Failed):
            failures.append(event.message)

    wishes = Wishes(queue, job)
    with wishes:
        try:
            os.chdir(job.folder)
            arguments = to_run(job)
        except (OSError, UserError) as error:
            keep(Failed(type(error).__name__, str(error)))
            exit_code = ConfigError.exit_code
        else:
            exit_code = run_workflow(job.order.workflow, arguments, [keep, wishes.watch])
        state = _state_after(exit_code, wishes)
        message = "\n".join(failures) if state == "failed" else ""
        queue.finish(job.id, state, message)
        log.append(job_event(state, message))
    return exit_code


def job_event(state: State, message: str = "") -> dict[str, Any]:
    """What the log of a job says of the job itself."""
    return {"event": "job", "state": state, "message": message}


def to_run(job: Job) -> Mapping[str, object]:
    """What the workflow is called with, in the job's own run folder. Raises ConfigError."""
    arguments = arguments_of(job.order, f"job {job.id}")
    config: Any = arguments.get("config")
    if job.run is None or job.order.workflow == "redo":
        return arguments
    if not is_dataclass(config):
        return {**arguments, "run": job.run}
    is_own = getattr(config, "run", None) is None
    arguments["config"] = replace(config, run=job.run)  # pyright: ignore[reportCallIssue]
    if job.order.workflow == "generate" and is_own:
        arguments["replaces"] = True  # what was edited since the last attempt gives way
    return arguments


def _state_after(exit_code: int, wishes: Wishes) -> State:
    if exit_code == 0:
        return "done"
    if exit_code not in _STOPPED:
        return "failed"
    return {"cancel": "cancelled", "pause at section": "paused"}.get(wishes.followed, "queued")  # pyright: ignore[reportReturnType]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
