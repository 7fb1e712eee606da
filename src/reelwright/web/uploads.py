"""Files that were sent: named by us, known by their content, their bytes left as they came."""

import asyncio
import re
import time
import uuid
from collections.abc import AsyncIterable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from reelwright.core.errors import UserError
from reelwright.core.paths import atomic_path, cannot_read, remove_leftovers
from reelwright.core.sizes import size_text
from reelwright.web.file_kind import HEAD_BYTES, FileGroup, FileKind, kind_of

MOST_PIXELS = 100_000_000
"""A picture that declares more is refused: it may be a few bytes that unfold to fill the memory."""

_NAME = re.compile(r"up_[0-9a-f]{32}")


class UploadTooLargeError(UserError):
    """More was sent than is taken."""


class UploadKindError(UserError):
    """What was sent is no file that has a use here, or is broken."""


class UnknownUploadError(UserError):
    """There is no upload of this name."""


@dataclass(frozen=True, kw_only=True)
class Upload:
    """A file that was sent, whole on disk."""

    id: str
    kind: FileGroup
    path: Path
    size: int


class Uploads:
    """The folder of uploads. Nothing that a sender calls a file ever becomes a path."""

    def __init__(self, folder: Path, *, max_bytes: int, make_room: Callable[[], None] | None = None) -> None:
        """`make_room` is called, in a thread, before each file is taken."""
        self.folder = folder
        self.max_bytes = max_bytes
        self._make_room = make_room

    def start(self) -> None:
        """Make the folder and remove what a killed process left half-written."""
        self.folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(self.folder)

    async def keep(self, chunks: AsyncIterable[bytes]) -> Upload:
        """Write what comes to a file of its own, whole or not at all.

        Raises UploadTooLargeError before more than allowed is written, UploadKindError before anything is
        written for what is no picture, clip or tensors, FileError where the disk refuses.
        """
        waiting = aiter(chunks)
        head = await _head(waiting)
        kind = _checked_kind(head)
        name = f"up_{uuid.uuid4().hex}"
        path = self.folder / f"{name}{kind.suffix}"
        if self._make_room is not None:
            await asyncio.to_thread(self._make_room)
        with atomic_path(path) as temporary, temporary.open("w+b") as file:
            size = await self._write(head, waiting, file)
            _check_picture(kind, file)
        return Upload(id=name, kind=kind.group, path=path, size=size)

    def get(self, upload: str) -> Upload:
        """The upload of this name. Raises UnknownUploadError."""
        path = next(self.folder.glob(f"{upload}.*"), None) if _NAME.fullmatch(upload) else None
        if path is None:
            raise UnknownUploadError(f"{upload[:80]!r}: there is no such upload. Send the file again.")
        try:
            with path.open("rb") as file:
                kind = _checked_kind(file.read(HEAD_BYTES))
            return Upload(id=upload, kind=kind.group, path=path, size=path.stat().st_size)
        except OSError as error:
            raise cannot_read(path, error) from error

    def remove(self, upload: str) -> None:
        """Remove the file of an upload. Raises UnknownUploadError."""
        self.get(upload).path.unlink(missing_ok=True)

    def older_than(self, seconds: float) -> list[Path]:
        """The files of uploads that came more than so long ago."""
        limit, found = time.time() - seconds, list[Path]()
        for path in self.folder.glob("up_*"):
            with suppress(OSError):  # it was removed meanwhile
                if path.stat().st_mtime < limit:
                    found.append(path)
        return found

    async def _write(self, head: bytes, chunks: AsyncIterable[bytes], file: BinaryIO) -> int:
        size = len(head)
        self._check_size(size)
        file.write(head)
        async for chunk in chunks:
            size += len(chunk)
            self._check_size(size)
            await asyncio.to_thread(file.write, chunk)
        return size

    def _check_size(self, size: int) -> None:
        if size > self.max_bytes:
            raise UploadTooLargeError(
                f"The file is larger than the {size_text(self.max_bytes)} that are taken."
                " Send a smaller one, or start the studio with a larger --max-upload-mb."
            )


async def _head(chunks: AsyncIterable[bytes]) -> bytes:
    """The first bytes: enough to tell what the file is."""
    head = b""
    async for chunk in chunks:
        head += chunk
        if len(head) >= HEAD_BYTES:
            break
    return head


def _checked_kind(head: bytes) -> FileKind:
    kind = kind_of(head)
    if kind is None:
        raise UploadKindError(
            "The file is none that can be used. Send a picture (PNG, JPEG, WebP, GIF, BMP),"
            " a clip (MP4, MOV, MKV, WebM, AVI) or safetensors."
        )
    return kind


def _check_picture(kind: FileKind, file: BinaryIO) -> None:
    """Raises UploadKindError for a picture without a size, UploadTooLargeError for one of a vast size."""
    if kind.size is None:
        return
    file.seek(0)
    found = kind.size(file)
    if found is None or 0 in found:
        raise UploadKindError("The picture is broken: its header tells no size. Save it again and send that.")
    width, height = found
    if width * height > MOST_PIXELS:
        raise UploadTooLargeError(
            f"The picture declares {width}x{height} pixels. Send one of {MOST_PIXELS:,} pixels or fewer."
        )
