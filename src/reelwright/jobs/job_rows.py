"""Jobs as rows of a table, within one transaction."""

import json
import sqlite3
from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from reelwright.jobs.job_record import Changes, Job, State, UnknownJobError
from reelwright.jobs.order import Order

SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY,
    place INTEGER NOT NULL,
    title TEXT NOT NULL,
    work TEXT NOT NULL,
    state TEXT NOT NULL,
    wish TEXT NOT NULL,
    run TEXT,
    owns_run INTEGER NOT NULL,
    folder TEXT NOT NULL,
    created REAL NOT NULL,
    started REAL,
    ended REAL,
    attempts INTEGER NOT NULL,
    message TEXT NOT NULL,
    progress TEXT NOT NULL,
    holds INTEGER NOT NULL,
    owner TEXT NOT NULL,
    device TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS jobs_by_state ON jobs (state, place);
CREATE TABLE IF NOT EXISTS changes (number INTEGER NOT NULL);
INSERT INTO changes SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM changes);
"""
_LAST = "(SELECT coalesce(max(place), 0) + 1 FROM jobs)"


class Rows:
    """The rows, as one transaction sees and changes them."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def get(self, identity: str) -> Job:
        """Raises UnknownJobError."""
        row = self._connection.execute("SELECT * FROM jobs WHERE id = ?", (identity,)).fetchone()
        if row is None:
            raise UnknownJobError(f"job {identity}: there is no such job in the queue. List those that are.")
        return _job(row)

    def list(self, states: Collection[State] = (), limit: int = -1) -> list[Job]:
        wanted = f"WHERE state IN ({', '.join('?' * len(states))})" if states else ""
        query = f"SELECT * FROM jobs {wanted} ORDER BY place LIMIT ?"
        return [_job(row) for row in self._connection.execute(query, (*states, limit))]

    def any(self, condition: str, *values: object) -> bool:
        """Whether there is a job of which this holds."""
        query = f"SELECT EXISTS (SELECT 1 FROM jobs WHERE {condition})"
        return bool(self._connection.execute(query, values).fetchone()[0])

    def insert(self, job: Job) -> None:
        """Add a job, after all others."""
        values: dict[str, Any] = asdict(job) | {
            "progress": json.dumps(job.progress),
            "work": job.order.to_json(),
        }
        values |= {"run": None if job.run is None else str(job.run), "folder": str(job.folder)}
        del values["order"], values["place"]
        names, marks = ", ".join(values), ", ".join("?" * len(values))
        self._connection.execute(
            f"INSERT INTO jobs (place, {names}) VALUES ({_LAST}, {marks})", tuple(values.values())
        )

    def update(self, identity: str, changes: Changes) -> None:
        columns = ", ".join(f"{name} = ?" for name in changes)
        self._connection.execute(f"UPDATE jobs SET {columns} WHERE id = ?", (*changes.values(), identity))

    def move(self, identity: str, place: int | None) -> None:
        """Put a job at a place, which those from there on leave to it; or after all others."""
        if place is None:
            self._connection.execute(f"UPDATE jobs SET place = {_LAST} WHERE id = ?", (identity,))
            return
        self._connection.execute("UPDATE jobs SET place = place + 1 WHERE place >= ?", (place,))
        self._connection.execute("UPDATE jobs SET place = ? WHERE id = ?", (place, identity))

    def delete(self, identity: str) -> None:
        self._connection.execute("DELETE FROM jobs WHERE id = ?", (identity,))

    def revision(self) -> int:
        return self._connection.execute("SELECT number FROM changes").fetchone()[0]


def _job(row: sqlite3.Row) -> Job:
    values: dict[str, Any] = dict(cast("Any", row))
    work, run, folder = values.pop("work"), values.pop("run"), values.pop("folder")
    for name in ("holds", "owns_run"):
        values[name] = bool(values[name])
    values["progress"] = json.loads(values["progress"])
    return Job(**values, order=_order(work), run=Path(run) if run else None, folder=Path(folder))


def _order(text: str) -> Order:
    """An order as it was stored. A damaged one is shown all the same, and fails when its turn comes."""
    try:
        stored: dict[str, Any] = json.loads(text)
        tables: dict[str, Any] = {name: dict(stored[name]) for name in ("values", "options")}
        return Order(**stored | tables)
    except (ValueError, TypeError, KeyError):
        return Order(workflow="")
