"""Safetensors files by way of the `safetensors` library, with memory bounded and bytes reproducible."""

import errno
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from reelwright.checkpoint.tensor_source import TensorEntry, TensorSource
from reelwright.core.errors import CheckpointError
from reelwright.core.paths import cannot_read

_DTYPES = {
    **{"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16},
    **{"F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2, "C64": torch.complex64},
    **{"I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "BOOL": torch.bool},
    **{"U64": torch.uint64, "U32": torch.uint32, "U16": torch.uint16, "U8": torch.uint8},
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_MAX_HEADER_BYTES = 100_000_000  # the library's own limit; a length beyond it is no length


class Writable(Protocol):
    """What bytes can be written to."""

    def write(self, data: bytes | memoryview, /) -> int: ...


def open_safetensors(path: Path) -> TensorSource:
    """The tensors of one file. Raises CheckpointError if it is cut short or damaged."""
    with _checked(path) as header:
        names, metadata = list(header.keys()), header.metadata()
    file = _OpenFile(path)
    entries = {name: file.entry(name) for name in names}
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
        set_metadata(path)


def stream_safetensors(file: Writable, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors from start to end, each brought to the CPU only while it is written. Raises OSError."""
    names = sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name))
    fields: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in names:
        tensor = tensors[name]
        begin, end = end, end + tensor.nbytes
        fields[name] = {
            "dtype": _NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [begin, end],
        }
    header = compact_header(fields)
    file.write(len(header).to_bytes(8, "little") + header)
    for name in names:
        dense = tensors[name].detach().cpu().contiguous()
        file.write(dense.reshape(-1).view(torch.uint8).numpy().data)


def set_metadata(path: Path, changed: Mapping[str, str] | None = None) -> None:
    """Put the metadata in order, and other values of the same length into it.

    The library writes several keys in an order that changes from run to run. The length stays, so the tensors
    stay where they are. Raises ValueError if it would not, as for a library that writes another JSON than the
    compact one.
    """
    with path.open("r+b") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        header["__metadata__"] = dict(sorted({**header["__metadata__"], **(changed or {})}.items()))
        text = compact_header(header).ljust(length)
        if len(text) != length:
            raise ValueError(f"the changed header has {len(text)} bytes in place of {length}")
        file.seek(8)
        file.write(text)


def compact_header(fields: Mapping[str, Any]) -> bytes:
    """A header as the library writes it, padded so that the tensors begin at a multiple of 8."""
    text = json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()
    return text.ljust(-(-len(text) // 8) * 8)


class _OpenFile:
    """Copies runs of bytes out of a file whose header is sound.

    The file is not mapped: pages of a mapping count as memory of this process once they are read, and the
    library's tensors are views of a mapping that the system refuses for a file larger than the memory.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._identity = _identity(path)
            # Unbuffered: runs are long, and go straight to where they belong.
            self._file = path.open("rb", buffering=0)
            length = int.from_bytes(self._file.read(8), "little")
            self._fields = json.loads(self._file.read(length))
        except OSError as error:
            raise cannot_read(path, error) from error
        self._start = 8 + length

    def entry(self, name: str) -> TensorEntry:
        field = self._fields[name]
        if field["dtype"] not in _DTYPES:
            raise CheckpointError(
                f"{self._path}: {name} has the number format {field['dtype']}, which cannot be read."
                " Use a float32, bfloat16, float16 or plain fp8 file of this model."
            )
        dtype, begin = _DTYPES[field["dtype"]], self._start + field["data_offsets"][0]

        def read_into(start: int, out: Tensor) -> None:
            self._read_into(begin + start * dtype.itemsize, out)

        return TensorEntry(shape=tuple(field["shape"]), dtype=dtype, read_into=read_into, path=self._path)

    def close(self) -> None:
        self._file.close()

    def _read_into(self, place: int, out: Tensor) -> None:
        left = out.view(torch.uint8).numpy().data
        try:
            self._file.seek(place)
            # A system may give less than is asked for, Linux at most 2 GB at a time.
            while left and (num_read := self._file.readinto(left)):
                left = left[num_read:]
        except OSError as error:
            raise cannot_read(self._path, error) from error
        if left or _identity(self._path) != self._identity:
            raise CheckpointError(f"{self._path}: the file was changed while it was read. Try again.")


def _identity(path: Path) -> tuple[int, int, int]:
    try:
        status = path.stat()
    except OSError as error:
        raise cannot_read(path, error) from error
    return status.st_ino, status.st_size, status.st_mtime_ns


def _checked(path: Path) -> safe_open:
    """The file as the library opens it, which checks its header. Raises CheckpointError."""
    try:
        return safe_open(path, "np")
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
