"""The queue: jobs that wait, run and are done, shared by every process that opens its folder."""

import json
import secrets
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from reelwright.core.errors import UserError
from reelwright.jobs.event_log import EventLog, Events
from reelwright.jobs.job_record import (
    FINAL,
    WAITING,
    Job,
    JobStateError,
    State,
    UnknownJobError,
    Wish,
    check_state,
)
from reelwright.jobs.order import Order, arguments_of
from reelwright.jobs.queue_file import QueueFile

__all__ = ["FINAL", "WAITING", "Job", "JobQueue", "JobStateError", "State", "UnknownJobError", "Wish"]

Jobs = list[Job]

_FILE = "queue.sqlite"
_TITLE_LENGTH = 80


class JobQueue:
    """The queue in a folder: a file of jobs, and for each job a folder with its log and its lock."""

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
        run = run if run is not None else _run_folder(order, arguments, identity)
        with self._file.changing() as rows:
            rows.execute(
                "INSERT INTO jobs (id, place, title, work, state, run, folder, created)"
                " VALUES (?, (SELECT coalesce(max(place), 0) + 1 FROM jobs), ?, ?, 'queued', ?, ?, ?)",
                (
                    *(identity, title or _title(order), order.to_json()),
                    *(None if run is None else str(run.absolute()), str(Path.cwd()), time.time()),
                ),
            )
            return _job(rows, identity)

    def get(self, identity: str) -> Job:
        """A job by its id. Raises UnknownJobError."""
        with self._file.reading() as rows:
            return _job(rows, identity)

    def list(self, states: Collection[State] = ()) -> Jobs:
        """All jobs in the order of their places, or those in some states."""
        wanted = f"WHERE state IN ({', '.join('?' * len(states))})" if states else ""
        with self._file.reading() as rows:
            found = rows.execute(f"SELECT * FROM jobs {wanted} ORDER BY place", tuple(states)).fetchall()
        return [_from_row(row) for row in found]

    def revision(self) -> int:
        """A number that grows with every change; cheap to ask for."""
        with self._file.reading() as rows:
            return rows.execute("SELECT number FROM changes").fetchone()[0]

    def edit(self, identity: str, order: Order) -> Job:
        """Change what a job that does not run is to do. Raises ConfigError, JobStateError."""
        order = with_seeds(order)
        arguments_of(order)

        def change(job: Job) -> Mapping[str, object]:
            check_state(job, "edited", ("queued", "paused", "failed", "cancelled"))
            _check_released(job, "edited")
            return {"work": order.to_json(), "title": _new_title(job, order), "attempts": 0}

        return self._change(identity, change)

    def move(self, identity: str, before: str | None) -> Job:
        """Put a waiting job before another one, or at the end."""
        with self._file.changing() as rows:
            job = _job(rows, identity)
            check_state(job, "moved", WAITING)
            if before == identity:
                return job
            if before is None:
                place = "(SELECT max(place) + 1 FROM jobs)"
            else:
                place = str(_job(rows, before).place)
                rows.execute(f"UPDATE jobs SET place = place + 1 WHERE place >= {place}")
            rows.execute(f"UPDATE jobs SET place = {place} WHERE id = ?", (identity,))
            return _job(rows, identity)

    def pause(self, identity: str, at: Literal["step", "section"] = "step") -> Job:
        """Hold a job: at the next step with all in memory, or when a section is kept and memory is free."""

        def change(job: Job) -> Mapping[str, object]:
            check_state(job, "paused", ("queued", "running", "paused"))
            if job.state == "queued":
                return {"state": "paused"}
            if job.wish == "cancel":
                raise JobStateError(f"job {job.id}: is being cancelled.")
            if job.has_worker:
                return {"wish": f"pause at {at}"}
            return {}

        return self._change(identity, change)

    def go_on(self, identity: str) -> Job:
        """Let a paused job go on; one whose worker holds does so at once."""

        def change(job: Job) -> Mapping[str, object]:
            if job.state == "running" and job.wish.startswith("pause"):
                return {"wish": ""}
            check_state(job, "gone on with", ("paused",))
            if job.holds:
                return {"state": "running", "wish": "", "holds": 0}
            return {"state": "queued", "wish": "", "attempts": 0, "message": ""}

        return self._change(identity, change)

    def cancel(self, identity: str) -> Job:
        """End a job for good; what it made is kept. One that runs ends as by Ctrl-C."""

        def change(job: Job) -> Mapping[str, object]:
            check_state(job, "cancelled", ("queued", "running", "paused", "cancelled"))
            if job.has_worker:
                return {"wish": "cancel"}
            return {} if job.is_final else {"state": "cancelled", "wish": "", "ended": time.time()}

        return self._change(identity, change)

    def retry(self, identity: str) -> Job:
        """Queue a job that failed or was cancelled again; it goes on in its run folder."""

        def change(job: Job) -> Mapping[str, object]:
            check_state(job, "retried", ("failed", "cancelled"))
            return {"state": "queued", "wish": "", "attempts": 0, "message": "", "ended": None}

        return self._change(identity, change)

    def remove(self, identity: str, files: bool = False) -> None:
        """Forget a job that does not run; with `files`, its run folder goes too."""
        with self._file.changing() as rows:
            job = _job(rows, identity)
            if job.has_worker:
                raise JobStateError(f"job {identity}: is running and cannot be removed. Cancel it first.")
            rows.execute("DELETE FROM jobs WHERE id = ?", (identity,))
        with self._lock:
            self._logs.pop(identity, None)
        shutil.rmtree(self.folder_of(identity), ignore_errors=True)
        if files and job.run is not None and (job.run / "recipe.toml").is_file():
            shutil.rmtree(job.run, ignore_errors=True)

    def claim(self, owner: str, device: str = "") -> Job | None:
        """Take the first queued job, which runs from now on, if one waits. No two callers get the same."""
        with self._file.changing() as rows:
            first = rows.execute(
                "SELECT id FROM jobs WHERE state = 'queued' ORDER BY place LIMIT 1"
            ).fetchone()
            if first is None:
                return None
            values = {
                "state": "running",
                "wish": "",
                "owner": owner,
                "device": device,
                "started": time.time(),
            }
            _update(rows, first["id"], {**values, "ended": None, "progress": "{}"})
            rows.execute("UPDATE jobs SET attempts = attempts + 1 WHERE id = ?", (first["id"],))
            return _job(rows, first["id"])

    def finish(self, identity: str, state: State, message: str = "") -> Job:
        """Say how a job that has a worker ended, once: done, failed, cancelled; or paused, queued again.

        Raises JobStateError where it has none any more.
        """

        def change(job: Job) -> Mapping[str, object]:
            if not job.has_worker:
                raise JobStateError(f"job {identity}: is {job.state} already.")
            ended = time.time() if state in FINAL else None
            values = {"state": state, "wish": "", "holds": 0, "owner": "", "device": "", "ended": ended}
            return {**values, "message": message}

        return self._change(identity, change)

    def hold(self, identity: str) -> Job:
        """Say that the worker holds between two steps, if that is still wished."""

        def change(job: Job) -> Mapping[str, object]:
            if job.state == "running" and job.wish == "pause at step":
                return {"state": "paused", "wish": "", "holds": 1}
            return {}

        return self._change(identity, change)

    def adopt(self, identity: str, old: str, new: str) -> bool:
        """Look after a worker whose dispatcher is gone; False where another was faster."""
        with self._file.changing() as rows:
            query = "UPDATE jobs SET owner = ? WHERE id = ? AND owner = ?"
            return rows.execute(query, (new, identity, old)).rowcount == 1

    def report(self, identity: str, progress: Mapping[str, Any]) -> None:
        """Keep how far a job is."""
        with self._file.changing() as rows:
            _update(rows, identity, {"progress": json.dumps(progress)})

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

    def _change(self, identity: str, change: Callable[[Job], Mapping[str, object]]) -> Job:
        with self._file.changing() as rows:
            if values := change(_job(rows, identity)):
                _update(rows, identity, values)
            return _job(rows, identity)


def with_seeds(order: Order) -> Order:
    """The order with every seed that was left to chance drawn, so that a job gone on with makes the same."""
    if order.workflow == "generate" and order.values.get("seed", -1) == -1:
        return replace(order, values={**order.values, "seed": secrets.randbelow(2**31)})
    if order.workflow == "redo" and order.options.get("seed") is None:
        return replace(order, options={**order.options, "seed": secrets.randbelow(2**31)})
    return order


def _run_folder(order: Order, arguments: Mapping[str, Any], identity: str) -> Path | None:
    """The folder that the order names, or a new one where it says that outputs go."""
    if order.options.get("branch"):
        return Path(str(order.options["branch"]))
    said: Mapping[str, Any] = vars(arguments["config"]) if "config" in arguments else arguments
    if not {"run", "out"} <= said.keys():
        return None
    name = "-".join(filter(None, (order.family or order.workflow, identity[:6])))
    return said["run"] or said["out"] / f"{datetime.now():%Y%m%d-%H%M%S}_{name}"


def _title(order: Order) -> str:
    words = " ".join(str(order.values.get("prompt", "")).split())
    return words[:_TITLE_LENGTH] or f"{order.workflow} {order.family}".strip()


def _new_title(job: Job, order: Order) -> str:
    """A title that came from the order follows it; one that was given stays."""
    return _title(order) if job.title == _title(job.order) else job.title


def _check_released(job: Job, act: str) -> None:
    if job.holds:
        raise JobStateError(
            f"job {job.id}: holds between two steps and cannot be {act}. Pause it at a section, or cancel it."
        )


def _job(rows: sqlite3.Connection, identity: str) -> Job:
    row = rows.execute("SELECT * FROM jobs WHERE id = ?", (identity,)).fetchone()
    if row is None:
        raise UnknownJobError(f"job {identity}: there is no such job in the queue. List those that are.")
    return _from_row(row)


def _from_row(row: sqlite3.Row) -> Job:
    values = dict(row)
    work, run = values.pop("work"), values.pop("run")
    try:
        order = Order.from_json(work, f"job {values['id']}")
    except UserError:  # of another version, or damaged: it is shown, and fails when its turn comes
        order = Order(workflow="")
    values |= {"holds": bool(values["holds"]), "progress": json.loads(values["progress"])}
    return Job(**{**values, "folder": Path(values["folder"])}, order=order, run=Path(run) if run else None)


def _update(rows: sqlite3.Connection, identity: str, values: Mapping[str, object]) -> None:
    columns = ", ".join(f"{name} = ?" for name in values)
    rows.execute(f"UPDATE jobs SET {columns} WHERE id = ?", (*values.values(), identity))
