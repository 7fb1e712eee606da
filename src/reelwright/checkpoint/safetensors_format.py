"""Safetensors files by way of the `safetensors` library, with memory bounded and bytes reproducible."""

import errno
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from reelwright.checkpoint.tensor_source import TensorEntry, TensorSource
from reelwright.core.errors import CheckpointError
from reelwright.core.paths import cannot_read

_READABLE = frozenset(
    "BOOL U8 U16 U32 U64 I8 I16 I32 I64 F8_E4M3 F8_E5M2 F16 BF16 F32 F64 C64".split()  # noqa: SIM905 - shorter
)
# The library maps the file, and pages of a mapping count as memory of this process once they are read.
# A new mapping starts with none; opening takes far less time than reading this much.
_MAX_RESIDENT_BYTES = 8 << 20
_MAX_HEADER_BYTES = 100_000_000  # the library's own limit; a length beyond it is no length


def open_safetensors(path: Path) -> TensorSource:
    """The tensors of one file. Raises CheckpointError if it is cut short or damaged."""
    file = _MappedFile(path)
    entries = {name: file.entry(name) for name in file.mapping.keys()}  # noqa: SIM118 - not a mapping
    metadata = file.mapping.metadata()
    return TensorSource(entries, paths=[path], metadata=metadata, close=file.close)


def write_safetensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write tensors to one file; the same content gives the same bytes. Raises OSError."""
    path.touch()
    mode = path.stat().st_mode
    try:
        save_file(_savable(tensors), path, dict(metadata))
        path.chmod(mode)  # the library puts a file of its own there, which only its owner may read
    except SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))
        code = int(number[1]) if number else errno.EIO
        raise OSError(code, os.strerror(code) if number else str(error)) from error
    if len(metadata) > 1:
        _sort_metadata(path)


class _MappedFile:
    """Copies from a file by way of the library's mapping, which is renewed from time to time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._identity = _identity(path)
        self.mapping = _open(path)
        self._num_resident_bytes = 0

    def entry(self, name: str) -> TensorEntry:
        number_format = self.mapping.get_slice(name).get_dtype()
        if number_format not in _READABLE:
            raise CheckpointError(
                f"{self._path}: {name} has the number format {number_format}, which cannot be read."
                " Use a float32, bfloat16, float16 or plain fp8 file of this model."
            )
        tensor = self.mapping.get_tensor(name)  # a view of the mapping: nothing is read yet

        def read_into(start: int, out: Tensor) -> None:
            self._read_into(name, start, out)

        return TensorEntry(
            shape=tuple(tensor.shape), dtype=tensor.dtype, read_into=read_into, path=self._path
        )

    def close(self) -> None:
        self.mapping.__exit__(None, None, None)

    def _read_into(self, name: str, start: int, out: Tensor) -> None:
        if self._num_resident_bytes >= _MAX_RESIDENT_BYTES:
            self.close()
            self.mapping = _open(self._path)
            self._num_resident_bytes = 0
            if _identity(self._path) != self._identity:
                raise CheckpointError(f"{self._path}: the file was changed while it was read. Try again.")
        run = self.mapping.get_tensor(name).reshape(-1)[start : start + out.numel()]
        # Bytes are copied by one thread: torch would wait for several, which on a busy machine takes longer.
        out.view(torch.uint8).numpy()[:] = run.view(torch.uint8).numpy()
        self._num_resident_bytes += out.nbytes


def _identity(path: Path) -> tuple[int, int, int]:
    try:
        status = path.stat()
    except OSError as error:
        raise cannot_read(path, error) from error
    return status.st_ino, status.st_size, status.st_mtime_ns


def _open(path: Path) -> safe_open:
    try:
        return safe_open(path, "pt")
    except SafetensorError as error:
        raise CheckpointError(f"{path}: {_damage(path, str(error))}") from error
    except OSError as error:
        raise cannot_read(path, error) from error


def _damage(path: Path, reason: str) -> str:
    """What is wrong with a file that the library refuses, and by how many bytes where its header tells."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = 8 + int.from_bytes(file.read(8), "little")
        if size < start <= _MAX_HEADER_BYTES:
            return _cut_short(f"at least {start - size:,}")
        header = file.read(max(0, min(size, start) - 8))
    try:
        fields = {**json.loads(header), "__metadata__": {"data_offsets": (0, 0)}}.values()
        surplus = size - start - max(field["data_offsets"][1] for field in fields)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        surplus = 0
    if surplus < 0:
        return _cut_short(f"{-surplus:,}")
    if surplus > 0:
        reason = f"it has {surplus:,} bytes more than its header tells"
    return f"the file is damaged: {reason}. Fetch it again."


def _cut_short(missing: str) -> str:
    return (
        f"the file ends early, {missing} bytes are missing."
        " The download or copy was interrupted; fetch it again."
    )


def _savable(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors as the library takes them: dense, on the CPU, and none in the memory of another."""
    savable: dict[str, Tensor] = {}
    taken: set[int] = set()
    for name, tensor in tensors.items():
        dense = tensor.detach().cpu().contiguous()
        place = dense.untyped_storage().data_ptr()
        savable[name] = dense.clone() if place in taken else dense
        taken.add(place)
    return savable


def _sort_metadata(path: Path) -> None:
    """Put the metadata in order: the library writes several keys in one that changes from run to run.

    The order changes no length, so the tensors stay where they are. Raises ValueError if it did, which
    would mean that the library writes another JSON than the compact one.
    """
    with path.open("r+b") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode().ljust(length)
        if len(text) != length:
            raise ValueError(f"the sorted header has {len(text)} bytes in place of {length}")
        file.seek(8)
        file.write(text)
