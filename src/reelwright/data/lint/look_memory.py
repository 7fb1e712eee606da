"""Looks at media, remembered by what the files hold: a copy or a file that was moved is not watched again."""

import sqlite3
import threading
from contextlib import suppress
from pathlib import Path

from reelwright.data.lint.look import Look, look_from_json, look_to_json

# Rises when the same file would be seen differently.
_VERSION = 1
_PATIENCE_SECONDS = 60.0


class LookMemory:
    """A file of looks that threads and processes may share. It only saves time: its errors do not count."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._connection = _connected(path)

    def recall(self, content: str, kind: str) -> Look | None:
        """The look at a file with this SHA-256, if it was watched before."""
        select = "SELECT look FROM looks WHERE content = ? AND kind = ?"
        with self._lock, suppress(sqlite3.Error, ValueError):
            row = self._connection.execute(select, (content, kind)).fetchone()
            return None if row is None else look_from_json(row[0])
        return None

    def remember(self, content: str, kind: str, look: Look) -> None:
        insert = "INSERT OR REPLACE INTO looks VALUES (?, ?, ?)"
        with self._lock, suppress(sqlite3.Error):
            self._connection.execute(insert, (content, kind, look_to_json(look)))

    def close(self) -> None:
        with self._lock:
            self._connection.close()


def _connected(path: Path) -> sqlite3.Connection:
    """The memory at `path`, anew if it is damaged; where none can be written, one that ends with us."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return _prepared(str(path))
    except (sqlite3.OperationalError, OSError):
        return _prepared(":memory:")
    except sqlite3.DatabaseError:
        path.unlink(missing_ok=True)
        return _prepared(str(path))


def _prepared(name: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        name, timeout=_PATIENCE_SECONDS, isolation_level=None, check_same_thread=False
    )
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    if connection.execute("PRAGMA user_version").fetchone()[0] != _VERSION:
        connection.execute("DROP TABLE IF EXISTS looks")
        connection.execute(f"PRAGMA user_version = {_VERSION}")
    connection.execute(
        "CREATE TABLE IF NOT EXISTS looks (content TEXT, kind TEXT, look TEXT, PRIMARY KEY (content, kind))"
        " WITHOUT ROWID"
    )
    return connection
