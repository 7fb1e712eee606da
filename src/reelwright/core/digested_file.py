"""A file that is written once, from start to end, and whose content is known by its SHA-256."""

import hashlib
import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO


@dataclass(frozen=True, kw_only=True)
class Digest:
    """What tells whether a file is still as it was written."""

    sha256: str
    """In hex."""
    num_bytes: int


class DigestedFile:
    """What is written goes to disk and into the digest, without being read again."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._sha256 = hashlib.sha256()
        self._num_bytes = 0
        self.refusal: OSError | None = None
        """What the disk said, for libraries that report something else instead."""

    def write(self, data: bytes | memoryview, /) -> int:
        try:
            self._file.write(data)
        except OSError as error:
            self.refusal = error
            raise
        self._sha256.update(data)
        self._num_bytes += len(data)
        return len(data)

    def flush(self) -> None:
        self._file.flush()

    @property
    def digest(self) -> Digest:
        """Of what was written so far."""
        return Digest(sha256=self._sha256.hexdigest(), num_bytes=self._num_bytes)


@contextmanager
def digested_file(path: Path) -> Generator[DigestedFile]:
    """A new file to write to; it is on the disk, not only on its way there, when the block ends.

    Raises OSError where the disk refuses, whatever the library that writes made of it.
    """
    with path.open("wb") as file:
        digested = DigestedFile(file)
        try:
            yield digested
        except RuntimeError:
            if digested.refusal is not None:
                raise digested.refusal from None
            raise
        file.flush()
        os.fsync(file.fileno())
