"""The events of one job, one JSON object a line, numbered from 1 in the order in which they came."""

import json
import os
import threading
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from reelwright.core.errors import FileError
from reelwright.core.paths import cannot_write

Events = list[dict[str, Any]]
"""Each has its `number`, `at` (seconds since 1970) and `event`, its name."""


class EventLog:
    """A file that one process appends to and others read while it grows.

    A line that a killed process left half is passed over; it keeps its number.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._starts: list[int] = [0]
        """Of the lines that are known; the last one is where the next line will be."""

    def append(self, event: Mapping[str, Any]) -> None:
        """Write one event, with the time. Raises FileError where the disk refuses."""
        line = json.dumps({**event, "at": round(time.time(), 3)}, ensure_ascii=False)
        try:
            with self.path.open("ab+") as file:
                lead = b"" if _ends_whole(file.fileno()) else b"\n"
                file.write(lead + line.encode(errors="replace") + b"\n")
        except OSError as error:
            raise cannot_write(self.path, error) from error

    @contextmanager
    def appended(self, event: Mapping[str, Any]) -> Generator[None]:
        """An event that stays if the block succeeds; a disk that refuses it is no matter."""
        size = self._size()
        with suppress(FileError):
            self.append(event)
        try:
            yield
        except FileError:
            with suppress(OSError):
                os.truncate(self.path, size)
            raise

    def read(self, after: int = 0) -> Events:
        """The events that came after number `after`."""
        try:
            with self._lock, self.path.open("rb") as file:
                self._find_lines(file.fileno())
                after = min(max(after, 0), len(self._starts) - 1)
                content = _read(file.fileno(), self._starts[after], self._starts[-1])
        except FileNotFoundError:
            return []
        lines = enumerate(content.split(b"\n")[:-1], start=after + 1)
        return [event for number, line in lines if (event := _event(line, number)) is not None]

    def _size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def _find_lines(self, handle: int) -> None:
        """Note where the lines start that came since."""
        size = os.fstat(handle).st_size
        if size < self._starts[-1]:
            self._starts = [0]  # the file was removed and begun again
        at = self._starts[-1]
        for line in _read(handle, at, size).split(b"\n")[:-1]:
            at += len(line) + 1
            self._starts.append(at)


def _read(handle: int, start: int, end: int) -> bytes:
    os.lseek(handle, start, os.SEEK_SET)
    parts: list[bytes] = []
    while start < end and (part := os.read(handle, end - start)):
        parts.append(part)
        start += len(part)
    return b"".join(parts)


def _ends_whole(handle: int) -> bool:
    size = os.fstat(handle).st_size
    return size == 0 or _read(handle, size - 1, size) == b"\n"


def _event(line: bytes, number: int) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return {"number": number, **event} if isinstance(event, dict) else None
