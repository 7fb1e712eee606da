"""Media wherever they are, opened as local files, with errors that name the original."""

from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Lock

from reelwright.core.errors import FileError
from reelwright.core.locations import local_copy, local_path, stamp

_MOST_IDLE = 4
"""Copies that nobody reads and that are kept all the same: the next clip may be of the same file."""


@contextmanager
def local_media(location: str) -> Generator[Path]:
    """A path to read `location` from; a FileError raised meanwhile names the location and not a copy.

    Media at URLs and in tar files are copied; the last few copies are kept until the process ends.
    """
    if (path := local_path(location)) is not None:
        yield path
        return
    with _COPIES.lent(location) as path:
        try:
            yield path
        except FileError as error:
            raise FileError(str(error).replace(str(path), location)) from error


class _Copy:
    """A file or folder as the first who asks fetches it, for all who ask meanwhile and later."""

    def __init__(self, location: str) -> None:
        self._location = location
        self._lock = Lock()
        self._held = ExitStack()
        self._path: Path | None = None
        self.num_readers = 0

    def path(self) -> Path:
        with self._lock:
            if self._path is None:
                self._path = self._held.enter_context(local_copy(self._location))
            return self._path

    def remove(self) -> None:
        self._held.close()


class _Copies:
    """The copies of this process, those lent last are last; any thread may ask."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._copies: dict[tuple[str, str], _Copy] = {}

    @contextmanager
    def lent(self, location: str) -> Generator[Path]:
        """The path of a copy of what is there now."""
        key = (location, stamp(location))
        with self._lock:
            copy = self._copies[key] = self._copies.pop(key, None) or _Copy(location)
            copy.num_readers += 1
        try:
            yield copy.path()
        finally:
            with self._lock:
                copy.num_readers -= 1
                self._remove_idle()

    def _remove_idle(self) -> None:
        idle = [key for key, copy in self._copies.items() if not copy.num_readers]
        for key in idle[:-_MOST_IDLE]:
            self._copies.pop(key).remove()


_COPIES = _Copies()
