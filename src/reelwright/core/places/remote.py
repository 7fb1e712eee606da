"""Files that fsspec reaches: object stores, the web, other machines."""

import hashlib
import shutil
import sys
import uuid
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from reelwright.core.errors import FileError
from reelwright.core.places.place import no_such_file, no_such_folder, safe_name

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

_CHANGES_WITH_CONTENT = (
    "size",
    "ETag",
    "etag",
    "mtime",
    "LastModified",
    "last_modified",
    "created",
    "md5Hash",
)


_FOREIGN_ERRORS = (
    ("aiohttp", "ClientError"),
    ("azure.core.exceptions", "AzureError"),
    ("botocore.exceptions", "BotoCoreError"),
    ("google.auth.exceptions", "GoogleAuthError"),
    ("paramiko", "SSHException"),
)


@dataclass(frozen=True)
class RemotePlace:
    """A URL. See Place for what its methods do."""

    location: str

    def exists(self) -> bool:
        # What fsspec calls exists() is false too where the server cannot be reached.
        with _explained(self.location):
            system, path = _reach(self.location)
            try:
                system.info(path)
            except FileNotFoundError:
                return False
            return True

    def is_folder(self) -> bool:
        with _explained(self.location):
            system, path = _reach(self.location)
            return bool(system.isdir(path))

    def files(self, *, recursive: bool) -> Sequence[str]:
        if not self.is_folder():
            raise no_such_folder(self.location)
        with _explained(self.location):
            system, path = _reach(self.location)
            return [self._named(system, each) for each in system.find(path, None if recursive else 1)]

    def open(self) -> BinaryIO:
        with _explained(self.location):
            system, path = _reach(self.location)
            return cast("BinaryIO", system.open(path, "rb"))

    def fetch(self, target: Path) -> None:
        if not self.exists():
            raise no_such_file(self.location)
        if self.is_folder():
            self._fetch_folder(target)
            return
        with _explained(self.location):
            system, path = _reach(self.location)
            system.get_file(path, str(target))

    def publish(self, local: Path) -> None:
        """Object stores show a file when all of it is there; elsewhere the move is what makes it whole."""
        with _explained(self.location):
            system, path = _reach(self.location)
            folder, _, name = path.rpartition("/")
            building = f"{folder}/.{uuid.uuid4().hex[:12]}{PurePosixPath(name).suffix}"
            try:
                system.makedirs(folder, exist_ok=True)
                system.put_file(str(local), building)
                system.mv(building, path)
            except BaseException:
                with suppress(OSError):
                    system.rm_file(building)
                raise

    def stamp(self) -> str:
        with _explained(self.location):
            system, path = _reach(self.location)
            if system.isdir(path):
                stamps = (
                    f"{file} {RemotePlace(file).stamp()}" for file in sorted(self.files(recursive=False))
                )
                text = "\n".join(stamps)
            else:
                # The keys of some file systems follow from the address alone.
                facts = cast("Mapping[str, Any]", system.info(path))
                text = " ".join([system.ukey(path), *(str(facts.get(key)) for key in _CHANGES_WITH_CONTENT)])
        return hashlib.sha256(text.encode()).hexdigest()

    def remove(self) -> None:
        with _explained(self.location), suppress(FileNotFoundError):
            system, path = _reach(self.location)
            system.rm_file(path)

    def _fetch_folder(self, target: Path) -> None:
        # One by one: what is named ../x at the other end must not be written beside the folder.
        target.mkdir()
        for file in self.files(recursive=False):
            with (
                RemotePlace(file).open() as source,
                (target / safe_name(file.rpartition("/")[2])).open("wb") as copy,
            ):
                shutil.copyfileobj(source, copy)

    def _named(self, system: "AbstractFileSystem", path: str) -> str:
        """The location of a file of the same file system, reached in the same way."""
        _, chained, rest = self.location.partition("::")
        return f"{system.unstrip_protocol(path)}{chained}{rest}"


def _reach(location: str) -> "tuple[AbstractFileSystem, str]":
    from fsspec.core import url_to_fs  # noqa: PLC0415 - only where a URL is used

    system, path = url_to_fs(location)
    return system, cast("str", path)


@contextmanager
def _explained(location: str) -> Generator[None, None, None]:
    """Tell what the file system says in the words of a FileError."""
    try:
        yield
    except FileNotFoundError as error:
        raise no_such_file(location) from error
    except ImportError as error:
        raise FileError(f"{location}: needs another package: {error}. Install it and try again.") from error
    except _refusals() as error:
        reason = str(error) or type(error).__name__
        raise FileError(
            f"{location}: cannot be reached ({reason}). Check the address and what you may do there."
        ) from error


def _refusals() -> tuple[type[Exception], ...]:
    """What file systems raise: beside the usual, the errors of those packages that are in use."""
    loaded = ((sys.modules.get(module), name) for module, name in _FOREIGN_ERRORS)
    foreign = [getattr(module, name) for module, name in loaded if module is not None]
    return (OSError, ValueError, NotImplementedError, *foreign)
