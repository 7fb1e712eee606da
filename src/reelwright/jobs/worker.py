"""One job in a process of its own: python -m reelwright.jobs.worker QUEUE_FOLDER ID."""

import logging
import os
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from reelwright.core.errors import FileError, UserError
from reelwright.core.events import Event, EventSink, Failed, to_json
from reelwright.jobs.event_log import EventLog
from reelwright.jobs.interrupt import Interrupted, StopSignals
from reelwright.jobs.job import run_workflow
from reelwright.jobs.job_record import Job, State, job_event
from reelwright.jobs.order import arguments_of
from reelwright.jobs.queue import JobQueue
from reelwright.jobs.stored_runs import RECIPE, read_run
from reelwright.jobs.wishes import Wishes

LOCK = "lock"
"""In a job's folder: held by its worker, and by nobody when that is dead."""
PROCESS = "process"
"""In a job's folder: the number of the process that holds the lock."""
OUTPUT = "output.txt"
"""In a job's folder: what its workers write, where a dispatcher started them."""
_PATIENCE = 60.0
"""Seconds to wait for the lock, which a dispatcher takes for a blink, and for a queue on a full disk."""
_STOPPED = (130, 143)


def main(arguments: Sequence[str]) -> int:
    """Do a job that is to run, and return its exit code; 0 at once where it is not to run any more."""
    folder, identity = arguments
    queue = JobQueue(Path(folder))
    _log_to_output()
    try:
        with FileLock(queue.folder_of(identity) / LOCK, timeout=_PATIENCE):
            job = queue.get(identity)
            return _work(queue, job) if job.state == "running" else 0
    except Timeout:
        return 0  # another worker does it


def call_of(job: Job) -> tuple[str, Mapping[str, object]]:
    """The workflow to run, and what it is called with, in the job's own run folder. Raises ConfigError."""
    workflow, arguments = job.order.workflow, arguments_of(job.order, f"job {job.id}")
    if job.run is None:
        return workflow, arguments
    if workflow == "redo":
        return _redo(job.run, arguments)
    if "config" not in arguments:
        return workflow, {**arguments, "run": job.run}
    config: Any = arguments["config"]
    call = {**arguments, "config": replace(config, run=job.run)}
    # What another order of this job made gives way to this one.
    return workflow, {**call, "replaces": True} if workflow == "generate" and job.owns_run else call


def _redo(run: Path, arguments: Mapping[str, object]) -> tuple[str, Mapping[str, object]]:
    """A branch that an earlier attempt began is gone on with as a run of its own."""
    if arguments["branch"] is None or not (run / RECIPE).exists():
        return "redo", arguments
    stored = read_run(run)
    return stored.workflow, {"family": stored.family, "config": stored.config}


def _work(queue: JobQueue, job: Job) -> int:
    """Do the job, and say once how it ended."""
    record = _Record(queue.log_of(job.id))
    with StopSignals() as stop:
        try:
            (queue.folder_of(job.id) / PROCESS).write_text(str(os.getpid()), encoding="utf-8")
            record.tell("running", f"attempt {job.attempts}")
            with Wishes(queue, job, record.tell) as wishes:
                exit_code = _run(job, queue.folder_of(job.id), [record, wishes.watch])
        except Interrupted as interruption:  # before the workflow began, or when it was over
            exit_code = interruption.exit_code
        except (UserError, OSError) as error:
            exit_code = getattr(error, "exit_code", UserError.exit_code)
            with suppress(FileError):
                record(Failed(type(error).__name__, str(error)))
        stop.disarm()
        state, message = _state_after(exit_code), ""
        if state == "failed":
            message = record.failure or f"it ended with exit code {exit_code}."
        with suppress(UserError):  # a dispatcher sees to a job whose end could not be told
            _finish(queue, job, state, message)
    return exit_code


def _run(job: Job, folder: Path, sinks: Sequence[EventSink]) -> int:
    try:
        os.chdir(job.folder)
    except OSError as error:
        raise FileError(
            f"{job.folder}: the paths of this job count from there, and it cannot be entered"
            f" ({error.strerror}). Make it again, or add the job again from another folder."
        ) from error
    workflow, arguments = call_of(job)
    advice = f"The traceback is in {folder / OUTPUT}."
    return run_workflow(workflow, arguments, sinks, to_see_traceback=advice)


def _state_after(exit_code: int) -> State:
    """How the job ended, but for what was wished of it."""
    if exit_code == 0:
        return "done"
    return "queued" if exit_code in _STOPPED else "failed"


def _finish(queue: JobQueue, job: Job, state: State, message: str) -> None:
    """Tell the queue how the job ended; if its disk is full, for a while. Raises UserError after that."""
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            queue.finish(job.id, state, message)
        except FileError:
            if time.monotonic() > until:
                raise
        else:
            return
        time.sleep(1.0)


class _Record:
    """The sink that writes the job's log, and remembers how the workflow failed."""

    def __init__(self, log: EventLog) -> None:
        self.failure = ""
        self._log = log

    def __call__(self, event: Event, /) -> None:
        if isinstance(event, Failed):
            self.failure = event.message  # before the log, which may be what failed
        self._log.append(to_json(event))

    def tell(self, state: State, message: str = "") -> None:
        self._log.append(job_event(state, message))


def _log_to_output() -> None:
    """Warnings, and the traceback of a workflow that failed, on stderr, which a dispatcher keeps."""
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("reelwright.jobs").setLevel(logging.DEBUG)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
