"""Files that are either whole or absent, and folders that are known to be writable before work starts."""

import errno
import hashlib
import os
import re
import shutil
import uuid
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from reelwright.core.errors import FileError
from reelwright.core.sizes import size_text

_ADVICE = {
    errno.ENOSPC: "The disk is full. Free some space or choose another folder.",
    errno.EDQUOT: "Your disk quota is used up. Free some space or choose another folder.",
    errno.EACCES: "Writing there is not permitted. Choose another folder or change its permissions.",
    errno.EPERM: "Writing there is not permitted. Choose another folder or change its permissions.",
    errno.EROFS: "The file system is read-only. Choose another folder.",
    errno.ENOTDIR: "Part of the path is a file, not a folder. Choose another folder.",
    errno.EEXIST: "A file stands where a folder is needed. Choose another folder.",
    errno.EISDIR: "A folder stands where a file is needed. Choose another name.",
    errno.ENOTEMPTY: "A folder stands where a file is needed. Choose another name.",
    errno.EFBIG: "The file is too large for this file system. Choose another folder.",
    errno.ENAMETOOLONG: "The name is too long for this file system. Choose a shorter one.",
    errno.EIO: "The disk reports an error. Choose another disk.",
}


_LEFTOVER = re.compile(r"\.[0-9a-f]{12}(-old)?(\.\w+)?|\.tmp[A-Za-z0-9]{6}")
"""Names under which files and folders are built before they get their own, by us and by safetensors."""


@contextmanager
def atomic_path(path: Path) -> Generator[Path, None, None]:
    """A temporary path beside `path`, with its suffix, that becomes `path` when the block succeeds.

    Readers see the old file or the whole new one, never a part. On any failure, an interrupt too, the
    temporary file is removed. Raises FileError where the disk refuses (full, read-only, not permitted).
    """
    temporary = path.with_name(f".{uuid.uuid4().hex[:12]}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        if _concerns(error, path):
            raise cannot_write(path, error) from error
        raise
    finally:
        with suppress(OSError):
            temporary.unlink()


@contextmanager
def atomic_folder(folder: Path) -> Generator[Path, None, None]:
    """A new folder beside `folder` that takes its place when the block succeeds.

    Readers see the old folder, none for the blink between two renames, or the whole new one. On any failure
    the new one is removed. Raises FileError where the disk refuses.
    """
    built = folder.with_name(f".{uuid.uuid4().hex[:12]}")
    try:
        built.mkdir(parents=True)
        yield built
        _replace_folder(folder, built)
    except OSError as error:
        raise cannot_write(folder, error) from error
    finally:
        shutil.rmtree(built, ignore_errors=True)


def remove_leftovers(folder: Path, *, inner: bool = True) -> None:
    """Remove what a killed process left half-built, in inner folders too; only where no other one writes."""
    for path in list(folder.rglob("*") if inner else folder.glob(".*")):
        if _LEFTOVER.fullmatch(path.name):
            with suppress(OSError):
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def remove_folder(folder: Path) -> None:
    """Remove a folder so that it is whole or absent at any moment, or leave it where the disk refuses."""
    hidden = folder.with_name(f".{uuid.uuid4().hex[:12]}-old")
    with suppress(OSError):
        folder.rename(hidden)
        shutil.rmtree(hidden)


def sync_folder(folder: Path) -> None:
    """Make sure that the names in a folder outlive a power cut, on systems that can."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_text_atomic(path: Path, text: str) -> None:
    """Write UTF-8 `text` to `path`, whole or not at all. Raises FileError where the disk refuses."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def check_writable(folder: Path, needed_bytes: int = 0) -> None:
    """Try a write in `folder`, which is left as it was: a folder that does not exist is made and removed.

    Raises FileError if that fails or `needed_bytes` are not free.
    """
    probe = folder / f".probe-{uuid.uuid4().hex[:12]}"
    absent = [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"probe")
        probe.unlink()
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise cannot_write(folder, error) from error
    finally:
        for each in absent:
            with suppress(OSError):
                each.rmdir()
    if free < needed_bytes:
        raise FileError(
            f"{folder}: {size_text(needed_bytes)} are needed, {size_text(free)} are free."
            " Free some space or choose another folder."
        )


def cannot_write(path: Path, error: OSError) -> FileError:
    """The FileError that says in plain words why `path` cannot be written."""
    reason = error.strerror or str(error)
    advice = _ADVICE.get(error.errno or 0, "Choose another folder.")
    return FileError(f"{path}: cannot be written ({reason}). {advice}")


def cannot_read(path: Path, error: OSError) -> FileError:
    """The FileError that says in plain words why `path` cannot be read."""
    if isinstance(error, FileNotFoundError):
        return FileError(f"{path}: there is no such file. Check the path.")
    if isinstance(error, IsADirectoryError):
        return FileError(f"{path}: is a folder where a file is needed. Name a file in it.")
    return FileError(
        f"{path}: cannot be read ({error.strerror or error}). Check the path and its permissions."
    )


def cache_folder() -> Path:
    """Where downloads and encoded data are kept: $REELWRIGHT_CACHE, else the user's cache folder."""
    if own := os.environ.get("REELWRIGHT_CACHE"):
        return Path(own).expanduser()
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared) if shared else Path.home() / ".cache") / "reelwright"


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's content, in hex. Raises FileError if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise cannot_read(path, error) from error


def _replace_folder(folder: Path, built: Path) -> None:
    """Put `built` in the place of `folder`. A folder with content cannot be overwritten, only moved away."""
    old = built.with_name(f"{built.name}-old")
    if folder.is_dir():
        folder.rename(old)
    built.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def _concerns(error: OSError, path: Path) -> bool:
    """Whether the disk refused `path` itself, rather than another file that the block touched."""
    if error.errno not in _ADVICE:
        return False
    if not isinstance(error.filename, str | bytes):
        return True
    named = Path(os.fsdecode(error.filename))
    return named.parent == path.parent or path.is_relative_to(named)
