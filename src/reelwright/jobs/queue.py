"""The queue: jobs that wait, run and are done, shared by every process that opens its folder."""

import json
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from reelwright.core.paths import remove_folder
from reelwright.jobs import job_record
from reelwright.jobs.event_log import EventLog, Events
from reelwright.jobs.job_record import (
    WAITING,
    Changes,
    Job,
    JobStateError,
    PausePoint,
    State,
    UnknownJobError,
    check_state,
    job_event,
)
from reelwright.jobs.order import Order, arguments_of
from reelwright.jobs.placing import is_untouched, new_run_folder, run_folder, title_of, with_seeds
from reelwright.jobs.queue_file import QueueFile
from reelwright.jobs.stored_runs import RECIPE

__all__ = ["Job", "JobQueue", "JobStateError", "UnknownJobError"]

Jobs = list[Job]

_FILE = "queue.sqlite"


class JobQueue:
    """The queue in a folder: a file of jobs, and for each job a folder with its log and its lock.

    Every call is one short transaction, from any thread of any process. What the disk refuses is a FileError,
    and leaves the queue as it was.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self._file = QueueFile(self.folder / _FILE)
        self._logs: dict[str, EventLog] = {}
        self._lock = threading.Lock()

    def add(self, order: Order, *, title: str = "", run: Path | None = None) -> Job:
        """Put a job at the end; what is left to chance is drawn now, so that it can be gone on with.

        `run` is its run folder; without it the one that the order names, else a new one. Raises ConfigError
        with all that is wrong with the order.
        """
        order = with_seeds(order)
        arguments = arguments_of(order)
        identity = secrets.token_hex(8)
        place = run.absolute() if run is not None else run_folder(order, arguments, identity)
        job = Job(
            id=identity,
            order=order,
            title=title or title_of(order),
            state="queued",
            run=place,
            owns_run=place is not None and is_untouched(place),
            folder=Path.cwd(),
            place=0,
            created=time.time(),
        )
        with self._file.changing() as rows:
            if place is not None and rows.any("run = ?", str(place)):
                job = replace(job, owns_run=False)
            rows.insert(job)
            return rows.get(identity)

    def get(self, identity: str) -> Job:
        """A job by its id. Raises UnknownJobError."""
        with self._file.reading() as rows:
            return rows.get(identity)

    def list(self, states: Collection[State] = ()) -> Jobs:
        """All jobs in the order of their places, or those in some states."""
        with self._file.reading() as rows:
            return rows.list(states)

    def revision(self) -> int:
        """A number that grows with every change; cheap to ask for."""
        with self._file.reading() as rows:
            return rows.revision()

    def edit(self, identity: str, order: Order) -> Job:
        """Change what a job without a worker is to do; what it made already and still fits is kept.

        Raises ConfigError with all that is wrong with the order.
        """
        order = with_seeds(order)
        arguments = arguments_of(order)
        return self._change(identity, partial(_edited, order=order, arguments=arguments))

    def move(self, identity: str, before: str | None) -> Job:
        """Put a waiting job before another one, or at the end."""
        with self._file.changing() as rows:
            check_state(rows.get(identity), "moved", WAITING)
            if before != identity:
                rows.move(identity, None if before is None else rows.get(before).place)
            return rows.get(identity)

    def pause(self, identity: str, at: PausePoint = "step") -> Job:
        """Hold a job: at the next step with all in memory, or when a section is kept and memory is free."""
        return self._change(identity, partial(job_record.paused, at=at))

    def go_on(self, identity: str) -> Job:
        """Let a paused job go on: one whose worker holds at once, others when their turn comes."""
        return self._change(identity, job_record.gone_on)

    def cancel(self, identity: str) -> Job:
        """End a job for good; what it made is kept. One that runs ends as by Ctrl-C."""
        return self._change(identity, job_record.cancelled)

    def retry(self, identity: str) -> Job:
        """Queue a job that failed or was cancelled again; it goes on in its run folder."""
        return self._change(identity, job_record.retried)

    def remove(self, identity: str, files: bool = False) -> None:
        """Forget a job that has no worker; with `files`, the run folder that it alone has goes too."""
        with self._file.changing() as rows:
            job = rows.get(identity)
            if job.has_worker:
                raise JobStateError(f"job {identity}: is {job.state} and cannot be removed. Cancel it first.")
            rows.delete(identity)
            is_shared = rows.any("run = ?", str(job.run))
        with self._lock:
            self._logs.pop(identity, None)
        shutil.rmtree(self.folder_of(identity), ignore_errors=True)
        if files and job.run is not None and not is_shared and (job.run / RECIPE).is_file():
            remove_folder(job.run)

    def claim(self, owner: str, device: str = "") -> Job | None:
        """Take the first queued job, which runs from now on, if one waits. No two callers get the same."""
        with self._file.changing() as rows:
            first = rows.list(("queued",), limit=1)
            if not first:
                return None
            job = first[0]
            taken = {"state": "running", "wish": "", "owner": owner, "device": device}
            times = {"started": time.time(), "ended": None, "attempts": job.attempts + 1}
            rows.update(job.id, {**taken, **times})
            return rows.get(job.id)

    def finish(self, identity: str, state: State, message: str = "") -> Job:
        """Say how the worker of a job ended: done, failed, cancelled; or paused, queued again.

        Raises JobStateError where it has none any more: a job comes to one end only.
        """
        return self._change(identity, partial(job_record.ended, state=state, message=message), is_told=True)

    def hold(self, identity: str) -> Job:
        """Say that the worker of a job holds between two steps, if that is still wished."""
        return self._change(identity, job_record.held, is_told=True)

    def report(self, identity: str, progress: Mapping[str, Any]) -> None:
        """Keep how far a job is."""
        self._change(identity, lambda _: {"progress": json.dumps(progress)})

    def adopt(self, identity: str, old: str, new: str) -> None:
        """Let another dispatcher look after a worker, unless a third one does."""
        self._change(identity, lambda job: {"owner": new} if job.has_worker and job.owner == old else {})

    def events(self, identity: str, after: int = 0) -> Events:
        """The events of all attempts at a job, numbered from 1, that came after one; [] if there are none.

        Beside those of the workflow: {"event": "job", "state": ..., "message": ...} when it starts, holds,
        goes on and ends.
        """
        self.get(identity)
        return self.log_of(identity).read(after)

    def log_of(self, identity: str) -> EventLog:
        with self._lock:
            return self._logs.setdefault(identity, EventLog(self.folder_of(identity) / "events.jsonl"))

    def folder_of(self, identity: str) -> Path:
        """Where the log, the lock and the output of a job's workers are."""
        return self.folder / "jobs" / identity

    def close(self) -> None:
        """Let go of the file; the next call opens it again."""
        self._file.close()

    def _change(self, identity: str, change: Callable[[Job], Changes], *, is_told: bool = False) -> Job:
        """`is_told`: the log tells of it too, before it can be seen, so that who sees it finds all events."""
        with ExitStack() as told, self._file.changing() as rows:
            if values := change(rows.get(identity)):
                rows.update(identity, values)
                if is_told:
                    job = rows.get(identity)
                    told.enter_context(self.log_of(identity).appended(job_event(job.state, job.message)))
            return rows.get(identity)


def _edited(job: Job, order: Order, arguments: Mapping[str, Any]) -> Changes:
    """What changes with another order. A title that came from the order follows it."""
    check_state(job, "edited", ("queued", "paused", "failed", "cancelled"))
    if job.holds:
        raise JobStateError(
            f"job {job.id}: holds between two steps and cannot be edited. Pause it at a section first."
        )
    title = title_of(order) if job.title == title_of(job.order) else job.title
    place, owns_run = new_run_folder(job, order, arguments)
    run = None if place is None else str(place)
    return {"work": order.to_json(), "title": title, "attempts": 0, "run": run, "owns_run": owns_run}
