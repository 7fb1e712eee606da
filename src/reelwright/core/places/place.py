"""What can be done at any place, wherever it is."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, Protocol

from reelwright.core.errors import FileError

_UNSAFE = re.compile(r"[\\/:\0]")
_LONGEST_NAME = 100


class Place(Protocol):
    """One file or folder. Every method raises FileError with the location where the place refuses."""

    def exists(self) -> bool: ...

    def is_folder(self) -> bool: ...

    def files(self, *, recursive: bool) -> Sequence[str]:
        """Locations of the files in the folder, in any order."""
        ...

    def open(self) -> BinaryIO:
        """The file's content, to be read from the start."""
        ...

    def fetch(self, target: Path) -> None:
        """Copy the file, or the files of the folder, to `target`, which does not exist yet."""
        ...

    def publish(self, local: Path) -> None:
        """Put a copy of `local` here, whole or not at all."""
        ...

    def stamp(self) -> str:
        """Changes when the file may have."""
        ...

    def remove(self) -> None:
        """Remove the file; it may be absent."""
        ...


def safe_name(name: str) -> str:
    """A file name for a copy: what looks like a path, or is too long, is made harmless; the suffix stays."""
    plain = _UNSAFE.sub("_", name)[-_LONGEST_NAME:]
    return f"_{plain}" if plain.strip(".") == "" else plain


def no_such_file(location: str) -> FileError:
    return FileError(f"{location}: there is no such file. Check the path.")


def no_such_folder(location: str) -> FileError:
    return FileError(f"{location}: there is no such folder. Check the path.")
