"""What each picture and clip is, probed and hashed once and remembered until the file changes."""

import hashlib
import sqlite3
import threading
from contextlib import suppress
from pathlib import Path

from reelwright.core.locations import stamp
from reelwright.core.paths import sha256_of
from reelwright.data.local_media import local_media
from reelwright.media.image_ops import open_image
from reelwright.media.video_reader import probe_video
from reelwright.protocols.clips import MediaFacts, Source

# Rises when the same file would be told differently; what was remembered before is then probed anew.
_VERSION = 1
_PATIENCE_SECONDS = 60.0
_TABLE = """
CREATE TABLE IF NOT EXISTS facts (
    location TEXT NOT NULL, kind TEXT NOT NULL, stamp TEXT NOT NULL,
    width INTEGER NOT NULL, height INTEGER NOT NULL, num_frames INTEGER NOT NULL,
    fps REAL NOT NULL, duration REAL NOT NULL, content TEXT NOT NULL,
    PRIMARY KEY (location, kind)
) WITHOUT ROWID
"""
_SELECT = (
    "SELECT width, height, num_frames, fps, duration, content FROM facts"
    " WHERE location = ? AND kind = ? AND stamp = ?"
)


class MediaLedger:
    """A file that remembers MediaFacts. Threads and processes may share it.

    It only saves time: one that is damaged, or written by another version, is begun anew, and where none can
    be written, facts are remembered as long as this object lives.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._connection = _open(path)

    def facts(self, source: Source) -> MediaFacts:
        """What the picture or clip of `source` is. Raises FileError for what cannot be read."""
        seen = stamp(source.media)
        found = self._recall(source, seen)
        if found is not None:
            return found
        facts = probe(source)
        # What changed while it was read is told, but not remembered.
        if stamp(source.media) == seen:
            self._remember(source, seen, facts)
        return facts

    def close(self) -> None:
        """Let go of the file; the ledger cannot be asked after that."""
        with self._lock:
            self._connection.close()

    def _recall(self, source: Source, seen: str) -> MediaFacts | None:
        with self._lock:
            try:
                row = self._connection.execute(_SELECT, (source.media, source.kind, seen)).fetchone()
            except sqlite3.DatabaseError:
                self._begin_anew()
                return None
        if row is None:
            return None
        width, height, num_frames, fps, duration, content = row
        return MediaFacts(
            size=(width, height), num_frames=num_frames, fps=fps, duration=duration, content=content
        )

    def _remember(self, source: Source, seen: str, facts: MediaFacts) -> None:
        row = (
            *(source.media, source.kind, seen, *facts.size),
            *(facts.num_frames, facts.fps, facts.duration, facts.content),
        )
        insert = "INSERT OR REPLACE INTO facts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
        with self._lock:
            try:
                self._connection.execute(insert, row)
            except sqlite3.OperationalError:
                return  # busy for a minute, or the disk is full: it is probed again next time
            except sqlite3.DatabaseError:
                self._begin_anew()

    def _begin_anew(self) -> None:
        with suppress(sqlite3.Error):
            self._connection.close()
        _discard(self._path)
        self._connection = _open(self._path)


def probe(source: Source) -> MediaFacts:
    """Open a picture or clip and tell what it is; nothing is remembered. Raises FileError."""
    with local_media(source.media) as path:
        content = _content_of(path)
        if source.kind == "image":
            size = open_image(path).rgb.size
            return MediaFacts(size=size, num_frames=1, fps=0.0, duration=0.0, content=content)
        info = probe_video(path)
        return MediaFacts(
            size=(info.width, info.height),
            num_frames=info.num_frames,
            fps=info.fps,
            duration=info.duration,
            content=content,
        )


def _content_of(path: Path) -> str:
    """SHA-256 in hex of a file; of a folder, that of its files with their names."""
    if not path.is_dir():
        return sha256_of(path)
    digest = hashlib.sha256()
    for each in sorted(path.iterdir()):
        if each.is_file():
            digest.update(f"{each.name}\0{sha256_of(each)}\n".encode())
    return digest.hexdigest()


def _open(path: Path) -> sqlite3.Connection:
    """The ledger at `path`, begun anew where it is damaged; in memory where the disk refuses."""
    for _ in range(2):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            return _connected(str(path))
        except (sqlite3.OperationalError, OSError):
            break
        except sqlite3.DatabaseError:
            _discard(path)
    return _connected(":memory:")


def _connected(name: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        name, timeout=_PATIENCE_SECONDS, isolation_level=None, check_same_thread=False
    )
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        if connection.execute("PRAGMA user_version").fetchone()[0] != _VERSION:
            connection.execute("DROP TABLE IF EXISTS facts")
            connection.execute(f"PRAGMA user_version = {_VERSION}")
        connection.execute(_TABLE)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _discard(path: Path) -> None:
    for each in (path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")):
        with suppress(OSError):
            each.unlink()
