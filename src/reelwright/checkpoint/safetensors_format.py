"""The safetensors format: eight bytes of header length, a JSON header, then the tensors' bytes.

Read and written without mapping the file, so that memory never holds more than the piece asked for.
Format: https://github.com/huggingface/safetensors (README, "Format").
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from reelwright.checkpoint.tensor_source import TensorEntry, TensorSource
from reelwright.core.errors import CheckpointError
from reelwright.core.paths import cannot_read

# In the order of the reference implementation, which sorts tensors by it so that wide types are aligned.
DTYPES: dict[str, torch.dtype] = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "F8_E5M2": torch.float8_e5m2,
    "F8_E4M3": torch.float8_e4m3fn,
    "I16": torch.int16,
    "U16": torch.uint16,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I32": torch.int32,
    "U32": torch.uint32,
    "F32": torch.float32,
    "C64": torch.complex64,
    "F64": torch.float64,
    "I64": torch.int64,
    "U64": torch.uint64,
}
_NAMES = {dtype: name for name, dtype in DTYPES.items()}
_RANKS = {dtype: rank for rank, dtype in enumerate(DTYPES.values())}
_MAX_HEADER_BYTES = 100_000_000
_MAX_READ_BYTES = 1 << 30  # the operating system reads at most 2 GB in one call


@dataclass(frozen=True, kw_only=True)
class Field:
    """Where one tensor lies: its type, its shape and its first byte counted from the start of the file."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    offset: int


@dataclass(frozen=True, kw_only=True)
class Header:
    """What a file says of itself before its tensors begin."""

    fields: dict[str, Field]
    metadata: dict[str, str]


def open_safetensors(path: Path) -> TensorSource:
    """The tensors of one file. Raises CheckpointError if it is cut short or damaged."""
    header = read_header(path)
    file = path.open("rb", buffering=0)
    entries = {name: _entry(file, path, field) for name, field in header.fields.items()}
    return TensorSource(entries, paths=[path], metadata=header.metadata, close=file.close)


def read_header(path: Path) -> Header:
    """The header of one file, checked against the file's size. Raises CheckpointError if they disagree."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > _MAX_HEADER_BYTES:
                raise _damaged(path, "it does not begin with a safetensors header")
            header = file.read(length)
    except OSError as error:
        raise cannot_read(path, error) from error
    if len(header) < length:
        raise _cut_short(path, 8 + length - size, at_least=True)
    return _parse_header(path, header, size)


def write_safetensors(file: BinaryIO, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write tensors one by one, in the byte order of the reference implementation."""
    names = sorted(tensors, key=lambda name: (-_rank(name, tensors[name]), name))
    header: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))} if metadata else {}
    offset = 0
    for name in names:
        tensor = tensors[name]
        end = offset + tensor.nbytes
        header[name] = {
            "dtype": _NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [offset, end],
        }
        offset = end
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    file.write(len(text).to_bytes(8, "little") + text)
    for name in names:
        file.write(_bytes_of(tensors[name].detach().cpu().contiguous()))


def _parse_header(path: Path, header: bytes, size: int) -> Header:
    data_start = 8 + len(header)
    try:
        content: dict[str, Any] = json.loads(header)
        metadata = {str(key): str(value) for key, value in content.pop("__metadata__", {}).items()}
        fields = {name: _parse_field(path, name, raw, data_start) for name, raw in content.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _damaged(path, "its header cannot be read") from error
    end = max((field.offset + _num_bytes(field) for field in fields.values()), default=data_start)
    if end > size:
        raise _cut_short(path, end - size)
    if end < size:
        raise _damaged(path, f"it has {size - end:,} bytes more than its header tells")
    return Header(fields=fields, metadata=metadata)


def _parse_field(path: Path, name: str, raw: dict[str, Any], data_start: int) -> Field:
    dtype = DTYPES.get(raw["dtype"])
    if dtype is None:
        raise CheckpointError(
            f"{path}: {name} has the number format {raw['dtype']}, which cannot be read."
            " Use a float32, bfloat16, float16 or plain fp8 file of this model."
        )
    start, stop = (int(offset) for offset in raw["data_offsets"])
    shape = tuple(int(extent) for extent in raw["shape"])
    field = Field(dtype=dtype, shape=shape, offset=data_start + start)
    if start < 0 or min(shape, default=0) < 0 or stop - start != _num_bytes(field):
        raise ValueError(f"{name}: {stop - start} bytes cannot hold {raw['shape']}")
    return field


def _entry(file: FileIO, path: Path, field: Field) -> TensorEntry:
    def read_into(start: int, out: Tensor) -> None:
        file.seek(field.offset + start * field.dtype.itemsize)
        _fill(file, path, _bytes_of(out))

    return TensorEntry(shape=field.shape, dtype=field.dtype, read_into=read_into, path=path)


def _fill(file: FileIO, path: Path, target: memoryview) -> None:
    done = 0
    while done < len(target):
        try:
            count = file.readinto(target[done : done + _MAX_READ_BYTES])
        except OSError as error:
            raise cannot_read(path, error) from error
        if not count:
            raise _cut_short(path, len(target) - done, at_least=True)
        done += count


def _bytes_of(tensor: Tensor) -> memoryview:
    """The memory of a contiguous CPU tensor, shared with it."""
    return tensor.reshape(-1).view(torch.uint8).numpy().data


def _num_bytes(field: Field) -> int:
    return math.prod(field.shape) * field.dtype.itemsize


def _rank(name: str, tensor: Tensor) -> int:
    if tensor.dtype not in _RANKS:
        raise ValueError(f"{name}: safetensors files cannot hold {tensor.dtype}")
    return _RANKS[tensor.dtype]


def _cut_short(path: Path, missing: int, *, at_least: bool = False) -> CheckpointError:
    amount = f"at least {missing:,}" if at_least else f"{missing:,}"
    return CheckpointError(
        f"{path}: the file ends early, {amount} bytes are missing."
        " The download or copy was interrupted; fetch it again."
    )


def _damaged(path: Path, reason: str) -> CheckpointError:
    return CheckpointError(f"{path}: the file is damaged: {reason}. Fetch it again.")
