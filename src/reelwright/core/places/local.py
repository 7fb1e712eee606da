"""Files of this machine's disks."""

import errno
import hashlib
import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from reelwright.core.errors import FileError
from reelwright.core.paths import atomic_path, cannot_read, cannot_write
from reelwright.core.places.place import no_such_file, no_such_folder


@dataclass(frozen=True)
class LocalPlace:
    """A path. See Place for what its methods do."""

    path: Path

    def exists(self) -> bool:
        return self._status() is not None

    def is_folder(self) -> bool:
        return _is_folder(self._status())

    def files(self, *, recursive: bool) -> Sequence[str]:
        if not self.is_folder():
            if self.exists():
                raise FileError(f"{self.path}: is a file where a folder is needed. Name its folder.")
            raise no_such_folder(str(self.path))
        try:
            return list(_files_below(self.path, recursive=recursive))
        except OSError as error:
            raise cannot_read(self.path, error) from error

    def open(self) -> BinaryIO:
        try:
            return self.path.open("rb")
        except (FileNotFoundError, ValueError) as error:
            raise no_such_file(str(self.path)) from error
        except OSError as error:
            raise cannot_read(self.path, error) from error

    def fetch(self, target: Path) -> None:
        with self.open() as source, target.open("wb") as copy:
            shutil.copyfileobj(source, copy)

    def publish(self, local: Path) -> None:
        with atomic_path(self.path) as temporary:
            shutil.copyfile(local, temporary)

    def stamp(self) -> str:
        status = self._status()
        if _is_folder(status):
            stamps = (
                f"{file} {LocalPlace(Path(file)).stamp()}" for file in sorted(self.files(recursive=False))
            )
            return hashlib.sha256("\n".join(stamps).encode("utf-8", "surrogateescape")).hexdigest()
        if status is None:
            raise no_such_file(str(self.path))
        return f"{status.st_size}-{status.st_mtime_ns}-{status.st_ctime_ns}-{status.st_ino}"

    def remove(self) -> None:
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            raise cannot_write(self.path, error) from error

    def _status(self) -> os.stat_result | None:
        """None where there can be nothing: a name that no disk would hold is no fault of the disk."""
        try:
            return self.path.stat()
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return None
        except OSError as error:
            if error.errno in (errno.ENAMETOOLONG, errno.ELOOP):
                return None
            raise cannot_read(self.path, error) from error


def _is_folder(status: os.stat_result | None) -> bool:
    return status is not None and stat.S_ISDIR(status.st_mode)


def _files_below(folder: Path, *, recursive: bool) -> Iterator[str]:
    """A link to nothing counts too: who reads it learns that it leads nowhere."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.is_dir():
                if entry.is_file() or entry.is_symlink():
                    yield str(folder / entry.name)
            elif recursive and not entry.is_symlink():
                yield from _files_below(folder / entry.name, recursive=True)
