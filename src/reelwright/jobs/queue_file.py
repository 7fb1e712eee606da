"""The SQLite file of a queue, in short transactions that several processes can make at once."""

import sqlite3
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from reelwright.core.errors import FileError
from reelwright.jobs.job_rows import SCHEMA, Rows

_PATIENCE = 30.0
"""Seconds to wait while another process writes."""
_VERSION = 1


class QueueFile:
    """One connection to the file, shared by the threads of this process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None

    @contextmanager
    def reading(self) -> Generator[Rows]:
        """The rows to read. Raises FileError where the disk or the file refuses."""
        with self._lock, self._refusals():
            yield Rows(self._open())

    @contextmanager
    def changing(self) -> Generator[Rows]:
        """A transaction that is whole or not at all; if it changes rows, it counts as a change.

        Raises FileError where the disk or the file refuses.
        """
        with self._lock, self._refusals():
            connection = self._open()
            connection.execute("BEGIN IMMEDIATE")
            try:
                before = connection.total_changes
                yield Rows(connection)
                if connection.total_changes != before:
                    connection.execute("UPDATE changes SET number = number + 1")
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = _connect(self.path)
        return self._connection

    @contextmanager
    def _refusals(self) -> Generator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise FileError(
                f"{self.path}: the queue cannot be used ({error}). Free some space, check its permissions, or"
                " choose another folder with --queue."
            ) from error


def _connect(path: Path) -> sqlite3.Connection:
    """A connection to a file that has its tables."""
    connection = sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False)
    connection.row_factory = sqlite3.Row
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        if connection.execute("PRAGMA user_version").fetchone()[0] < _VERSION:
            connection.executescript(f"BEGIN IMMEDIATE; {SCHEMA} PRAGMA user_version = {_VERSION}; COMMIT;")
    except sqlite3.Error:
        connection.close()
        raise
    return connection
