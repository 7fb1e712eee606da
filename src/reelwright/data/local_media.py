"""Media wherever they are, opened as local files, with errors that name the original."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from reelwright.core.errors import FileError
from reelwright.core.locations import local_copy, local_path


@contextmanager
def local_media(location: str) -> Generator[Path]:
    """A path to read `location` from; a FileError raised meanwhile names the location and not a copy."""
    with local_copy(location) as path:
        try:
            yield path
        except FileError as error:
            if local_path(location) is not None:
                raise
            raise FileError(str(error).replace(str(path), location)) from error
