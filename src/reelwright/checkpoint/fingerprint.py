"""A short name for the content of large files, quick enough to take on every run."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from reelwright.checkpoint.weight_files import find_weight_files
from reelwright.core.paths import cannot_read

_WHOLE_BYTES = 64 << 20
_START_BYTES = 1 << 20
_NUM_BLOCKS = 64
_BLOCK_BYTES = 64 << 10


def fingerprint(paths: Sequence[Path]) -> str:
    """SHA-256 in hex over the files' contents, whatever they are called and in whatever order they are given.

    Up to 64 MB a file counts whole. Of a larger one count its size, its first MB (which holds the header)
    and 64 blocks of 64 KB spread evenly up to the end: other weights differ everywhere, so this tells them.
    """
    digests = sorted(_digest(path) for path in paths)
    return hashlib.sha256(b"".join(digests)).hexdigest()


def fingerprint_part(path: Path) -> str:
    """Of the weights of one network and of the settings beside them, if `path` is a folder."""
    return fingerprint([*find_weight_files(path), *path.glob("config.json")])


def fingerprint_text(text: str) -> str:
    """Of what is described rather than stored."""
    return hashlib.sha256(text.encode()).hexdigest()


def fingerprint_folder(path: Path) -> str:
    """Of all files in a folder, or beside a file."""
    folder = path.parent if path.is_file() else path
    return fingerprint([file for file in folder.iterdir() if file.is_file()])


def _digest(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        digest = hashlib.sha256(size.to_bytes(8, "little"))
        with path.open("rb") as file:
            for start, length in _pieces(size):
                file.seek(start)
                digest.update(file.read(length))
    except OSError as error:
        raise cannot_read(path, error) from error
    return digest.digest()


def _pieces(size: int) -> list[tuple[int, int]]:
    """The runs of bytes that count, as (start, length)."""
    if size <= _WHOLE_BYTES:
        return [(0, size)]
    last = size - _BLOCK_BYTES
    starts = [last * block // (_NUM_BLOCKS - 1) for block in range(_NUM_BLOCKS)]
    return [(0, _START_BYTES), *((start, _BLOCK_BYTES) for start in starts)]
