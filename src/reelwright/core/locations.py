"""Where files are, as text: a path, or the URL of any file system that fsspec knows.

`clips/a.mp4`, `s3://bucket/a.mp4`, `memory://a.mp4`, and members of tar files: `tar://a.mp4::shard.tar`.
All functions raise FileError with the location where a place refuses. Paths never go through fsspec.
"""

import re
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import BinaryIO

from reelwright.core.errors import FileError
from reelwright.core.paths import cannot_read, cannot_write
from reelwright.core.places.local import LocalPlace
from reelwright.core.places.place import Place, safe_name
from reelwright.core.places.remote import RemotePlace
from reelwright.core.places.tar import TarPlace, split_member

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_LOCAL = re.compile(r"(?:file|local)://")
_WEB = re.compile(r"https?://")
_LONGEST_LINE = 64 * 2**20


def is_url(location: str) -> bool:
    """Whether it is a URL rather than a path."""
    return _URL.match(location) is not None


def local_path(location: str) -> Path | None:
    """The path, where the location is on this machine's disks; ~ is the user's folder."""
    if (local := _LOCAL.match(location)) and "::" not in location:
        return Path(location[local.end() :])
    if is_url(location):
        return None
    return Path(location).expanduser() if location.startswith("~/") else Path(location)


def join(folder: str, *names: str) -> str:
    """The location of a file in a folder, which may be a tar file as `tar://::shard.tar`."""
    if not is_url(folder):
        return str(PurePath(folder, *names))
    head, chained, rest = folder.partition("::")
    separator = "" if head.endswith("/") else "/"
    return f"{head}{separator}{'/'.join(names)}{chained}{rest}"


def name_of(location: str) -> str:
    """The last part: the name of a file or folder."""
    if not is_url(location):
        return PurePath(location).name
    member = split_member(location)
    head = member[0] if member else location.partition("::")[0].partition("://")[2]
    if _WEB.match(location):
        head = re.split(r"[?#]", head, maxsplit=1)[0]
    return head.rstrip("/").rpartition("/")[2]


def folder_of(location: str) -> str:
    """The folder that a file is in; of a member at the top of a tar file, that file."""
    if not is_url(location):
        return str(PurePath(location).parent)
    head, chained, rest = location.partition("::")
    scheme, separator, path = head.partition("://")
    folder = path.rstrip("/").rpartition("/")[0]
    return f"{scheme}{separator}{folder}{chained}{rest}"


def exists(location: str) -> bool:
    """Whether there is a file or folder."""
    return _place(location).exists()


def is_folder(location: str) -> bool:
    """Whether there is a folder."""
    return _place(location).is_folder()


def list_files(folder: str, recursive: bool = False) -> list[str]:
    """The files in a folder, sorted; with `recursive` those of its folders too, but not of linked ones."""
    return sorted(_place(folder).files(recursive=recursive))


def open_file(location: str) -> BinaryIO:
    """A file's content, to be read from the start; use it in a `with`."""
    return _place(location).open()


def read_bytes(location: str) -> bytes:
    """A file's whole content."""
    with open_file(location) as file:
        try:
            return file.read()
        except OSError as error:
            raise cannot_read(Path(location), error) from error


def read_text(location: str) -> str:
    """A file's whole content as UTF-8; a byte order mark is dropped."""
    try:
        return read_bytes(location).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FileError(f"{location}: is not text in UTF-8. Save it as UTF-8.") from error


def read_lines(location: str) -> Iterator[tuple[int, str]]:
    """The lines of a file as UTF-8, with their numbers from 1, without line ends, as they are asked for."""
    with open_file(location) as file:
        number = 0
        try:
            while line := file.readline(_LONGEST_LINE):
                number += 1
                if len(line) == _LONGEST_LINE:
                    raise FileError(f"{location} line {number}: is far too long. Is this a text file?")
                yield number, line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise FileError(f"{location} line {number}: is not text in UTF-8. Save it as UTF-8.") from error
        except OSError as error:
            raise cannot_read(Path(location), error) from error


@contextmanager
def local_copy(location: str) -> Generator[Path, None, None]:
    """A path to read from: the file itself where it is local, else a copy that is removed afterwards.

    The copy has the name of the original. Of a folder that is not local, its files are copied.
    """
    path = local_path(location)
    if path is not None:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="reelwright-") as folder:
        copy = Path(folder) / safe_name(name_of(location))
        try:
            _place(location).fetch(copy)
        except OSError as error:
            raise cannot_write(copy, error) from error
        yield copy


def publish(local: Path, location: str) -> None:
    """Put a copy of a local file there, whole or not at all: under another name first, then moved."""
    _place(location).publish(local)


def stamp(location: str) -> str:
    """Short text that changes when the file may have: size, times and identity, or what a URL's server tells.

    Of a folder, that of its files.
    """
    return _place(location).stamp()


def remove(location: str) -> None:
    """Remove a file; it may be absent."""
    _place(location).remove()


def resolve(text: str, beside: str) -> str:
    """The location that a file means by `text`: from the working directory, else beside that file.

    `beside` is the file that says it. What exists in neither place is taken from the working directory.
    """
    path = local_path(text)
    if path is None or path.is_absolute():
        return text if path is None else str(path)
    if LocalPlace(path).exists():
        return str(path)
    neighbor = join(folder_of(beside), text)
    return neighbor if exists(neighbor) else str(path)


def _place(location: str) -> Place:
    path = local_path(location)
    if path is not None:
        return LocalPlace(path)
    member = split_member(location)
    if member is not None:
        return TarPlace(member[0], member[1], _place(member[1]))
    return RemotePlace(location)
