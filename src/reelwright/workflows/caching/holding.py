"""One run at a time changes the files of one kind in a cache folder."""

from collections.abc import Generator
from contextlib import contextmanager

from filelock import FileLock, Timeout

from reelwright.core.errors import FileError
from reelwright.core.locations import local_path


@contextmanager
def hold_folder(folder: str, kind: str) -> Generator[None]:
    """Keep other runs out until the block ends; a folder at a URL cannot be held, and is left to the user.

    Raises FileError where another run holds it.
    """
    path = local_path(folder)
    if path is None or not path.is_dir():
        yield
        return
    lock = FileLock(path / f".reelwright-{kind}.lock")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise FileError(f"{folder}: another run is writing to this folder. Wait for it or stop it.") from None
    try:
        yield
    finally:
        lock.release()
