"""A folder of cache files, each whole or absent, that say themselves what they were made of."""

import json
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from io import SEEK_END
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO

import torch
from torch import Tensor

from reelwright.checkpoint.safetensors_format import open_safetensors
from reelwright.checkpoint.safetensors_io import save_safetensors
from reelwright.core import locations
from reelwright.core.errors import CheckpointError, FileError, NumericsError
from reelwright.core.paths import atomic_path
from reelwright.data.cache_store import content_digest
from reelwright.protocols.caching import CacheFile

FINGERPRINT = "reelwright_fingerprint"
"""The metadata of what all the file follows from."""
CONTENT = "reelwright_content_sha256"
"""The metadata of what the tensors hold, by `content_digest`."""
SUFFIX = ".safetensors"
_FOREIGN = "content-"
_MAX_HEADER_BYTES = 100_000_000  # the library's own limit; a length beyond it is no length


class CacheFolder:
    """The safetensors files in a folder or below a URL. Several processes and threads may use it."""

    def __init__(self, location: str) -> None:
        self.location = location

    def place(self, name: str) -> str:
        """Where the file of that name is, also for messages. Raises FileError for what is no plain name."""
        if not name or name in (".", "..") or set(name) & {"/", "\\", "\0"}:
            raise FileError(f"{self.location}: {name!r} is no name of a file. Rename the clip.")
        return locations.join(self.location, name)

    def write(self, file: CacheFile, fingerprint: str) -> None:
        """Write a file, whole or not at all, in place of what was there.

        Raises NumericsError for a NaN or an infinity, FileError where it cannot be written.
        """
        if flaw := numeric_flaw(file.tensors):
            raise NumericsError(
                f"{self.place(file.name)}: not written, {flaw}."
                " Encode in another number format (bfloat16 or float32), or leave the clip out."
            )
        own = {FINGERPRINT: fingerprint, CONTENT: content_digest(file.tensors)}
        with self.building(file.name) as path:
            save_safetensors(path, file.tensors, {**file.metadata, **own})

    @contextmanager
    def building(self, name: str) -> Generator[Path, None, None]:
        """A local path that becomes the file of that name when the block succeeds."""
        place = self.place(name)
        if (local := locations.local_path(place)) is not None:
            with atomic_path(local) as path:
                yield path
            return
        with TemporaryDirectory(prefix="reelwright-") as folder:
            path = Path(folder) / name
            yield path
            locations.publish(path, place)

    def fingerprint(self, name: str) -> str | None:
        """What a file says it was made of; None if it is absent, damaged or cut short, or not ours.

        Only its header is read: the values may be damaged all the same.
        """
        try:
            with locations.open_file(self.place(name)) as file:
                return _header_fingerprint(file)
        except (FileError, OSError):
            return None

    def read(self, name: str) -> tuple[dict[str, Tensor], dict[str, str]]:
        """The tensors and metadata of a file. Raises FileError if it is absent or damaged.

        Files of other programs carry no digest; of those a changed value cannot be told.
        """
        place = self.place(name)
        try:
            with locations.local_copy(place) as path, open_safetensors(path) as source:
                tensors = {key: source.read(key) for key in source.names()}
                metadata = dict(source.metadata)
        except CheckpointError as error:
            raise FileError(f"{place}: is cut short or damaged. {_REMAKE}") from error
        except FileError as error:
            if locations.exists(place):
                raise
            raise FileError(f"{place}: there is no such file. {_REMAKE}") from error
        if CONTENT in metadata and metadata[CONTENT] != content_digest(tensors):
            raise FileError(f"{place}: is damaged, its content is not what was written. {_REMOVE}")
        return tensors, metadata

    def names(self) -> list[str]:
        """All safetensors files, in order; none where there is no folder."""
        if not locations.exists(self.location):
            return []
        names = (locations.name_of(file) for file in locations.list_files(self.location))
        return sorted(name for name in names if name.endswith(SUFFIX) and not name.startswith("."))

    def remove(self, name: str) -> None:
        locations.remove(self.place(name))


def fingerprint_of(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """What a file that was read says it was made of; for one of another program, what it holds."""
    return metadata.get(FINGERPRINT) or f"{_FOREIGN}{metadata.get(CONTENT) or content_digest(tensors)}"


_REMAKE = "Run the cache command again, which makes it anew."
_REMOVE = f"Remove it, as `reelwright cache verify FAMILY --repair` does. {_REMAKE}"
"""Where the header, by which the cache command tells what is there, is whole."""


def numeric_flaw(tensors: Mapping[str, Tensor]) -> str:
    """The first tensor that holds a NaN or an infinity, and how many; "" where all numbers are numbers."""
    for name, tensor in sorted(tensors.items()):
        if not tensor.is_floating_point():
            continue
        # The formats of one byte know no isfinite.
        values = tensor if tensor.itemsize > 1 else tensor.to(torch.float32)
        finite = torch.isfinite(values)
        if not finite.all():
            wrong = int(finite.numel() - finite.sum())
            return f"{wrong:,} of {finite.numel():,} values of {name} are NaN or infinite"
    return ""


def _header_fingerprint(file: BinaryIO) -> str | None:
    """The fingerprint in a header that fits the file's size. Raises OSError."""
    length, fields = _read_header(file)
    size = file.seek(0, SEEK_END)
    try:
        metadata = fields.pop("__metadata__", {})
        end = max((field["data_offsets"][1] for field in fields.values()), default=0)
        found = metadata.get(FINGERPRINT)
    except (LookupError, TypeError, AttributeError):
        return None
    return found if isinstance(found, str) and size == 8 + length + end else None


def _read_header(file: BinaryIO) -> tuple[int, Any]:
    """The header's length and fields; no fields where it is no header."""
    length = int.from_bytes(file.read(8), "little")
    if length > _MAX_HEADER_BYTES:
        return length, None
    try:
        return length, json.loads(file.read(length))
    except (ValueError, RecursionError):
        return length, None
