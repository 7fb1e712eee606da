"""What was found out once, kept in a file. It only saves time, and so its errors do not count."""

import sqlite3
import threading
from contextlib import suppress
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import TypeAdapter

Value = TypeVar("Value")

_PATIENCE_SECONDS = 60.0
_TABLE = """
CREATE TABLE IF NOT EXISTS remembered (key TEXT PRIMARY KEY, mark TEXT NOT NULL, value TEXT NOT NULL)
WITHOUT ROWID
"""


class Memory(Generic[Value]):
    """Values by key, each as long as its mark stays the same. Threads and processes may share the file.

    One that is damaged, or of another version, is begun anew; where none can be written, values are
    remembered as long as this object lives.
    """

    def __init__(self, path: Path, kind: type[Value], *, version: int) -> None:
        """`version` rises when the same would be found to be something else."""
        self._path = path
        self._adapter = TypeAdapter[Value](kind)
        self._version = version
        self._lock = threading.Lock()
        self._connection = self._open()

    def recall(self, key: str, mark: str = "") -> Value | None:
        """What was remembered under this key and mark; None if that was nothing, or is another mark now."""
        select = "SELECT value FROM remembered WHERE key = ? AND mark = ?"
        found = self._ask(select, key, mark)
        with suppress(ValueError):
            return self._adapter.validate_json(found[0][0]) if found else None
        return None

    def remember(self, key: str, value: Value, mark: str = "") -> None:
        """Keep a value in place of what was there under the key."""
        text = self._adapter.dump_json(value).decode()
        self._ask("INSERT OR REPLACE INTO remembered VALUES (?, ?, ?)", key, mark, text)

    def close(self) -> None:
        """Let go of the file; nothing can be asked after that."""
        with self._lock:
            self._connection.close()

    def _ask(self, question: str, *values: str) -> list[tuple[str]]:
        with self._lock:
            try:
                return self._connection.execute(question, values).fetchall()
            except sqlite3.OperationalError:
                pass  # busy for a minute, or the disk is full: it is found out again
            except sqlite3.DatabaseError:
                with suppress(sqlite3.Error):
                    self._connection.close()
                _discard(self._path)
                self._connection = self._open()
        return []

    def _open(self) -> sqlite3.Connection:
        """The file, begun anew where it is damaged; in memory where the disk refuses."""
        for _ in range(2):
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                return self._connected(str(self._path))
            except (sqlite3.OperationalError, OSError):
                break
            except sqlite3.DatabaseError:
                _discard(self._path)
        return self._connected(":memory:")

    def _connected(self, name: str) -> sqlite3.Connection:
        connection = sqlite3.connect(
            name, timeout=_PATIENCE_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            if connection.execute("PRAGMA user_version").fetchone()[0] != self._version:
                connection.execute("DROP TABLE IF EXISTS remembered")
                connection.execute(f"PRAGMA user_version = {self._version}")
            connection.execute(_TABLE)
        except sqlite3.Error:
            connection.close()
            raise
        return connection


def _discard(path: Path) -> None:
    # The log goes first: beside a new file it would be taken for that one's.
    for name in (f"{path.name}-wal", f"{path.name}-shm", path.name):
        with suppress(OSError):
            path.with_name(name).unlink()
