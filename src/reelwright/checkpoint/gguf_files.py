"""GGUF files as named tensors: what is quantized in blocks is given back as float32 while it is read."""

from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from reelwright.checkpoint.tensor_source import TensorEntry, TensorSource
from reelwright.core.errors import CheckpointError
from reelwright.core.optional_library import import_optional

_PLAIN = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "F64": torch.float64}
_ORIGINAL_SHAPE = "comfy.gguf.orig_shape."
"""Where some programs keep the shape of a tensor of more than four dimensions, followed by its name."""


def open_gguf(path: Path) -> TensorSource:
    """The tensors of one file. Raises CheckpointError if it is cut short or damaged."""
    library = import_optional("gguf", extra="quant", purpose="reads GGUF files")
    try:
        reader = library.GGUFReader(path)
    except (ValueError, IndexError, KeyError, OSError) as error:
        raise CheckpointError(
            f"{path}: the file is cut short or damaged ({error}). Fetch it again."
        ) from error
    entries = {tensor.name: _entry(library, reader, tensor, path) for tensor in reader.tensors}
    return TensorSource(entries, paths=[path])


def _entry(library: Any, reader: Any, tensor: Any, path: Path) -> TensorEntry:  # noqa: ANN401 - untyped library
    dtype = _PLAIN.get(tensor.tensor_type.name)
    read = partial(_read_blocks, library, tensor) if dtype is None else partial(_read_plain, tensor, dtype)
    return TensorEntry(shape=_shape(reader, tensor), dtype=dtype or torch.float32, read_into=read, path=path)


def _shape(reader: Any, tensor: Any) -> tuple[int, ...]:  # noqa: ANN401 - untyped library
    original = reader.get_field(_ORIGINAL_SHAPE + tensor.name)
    if original is not None:
        return tuple(int(size) for size in original.contents())
    # The file counts from the innermost dimension.
    return tuple(int(size) for size in reversed(tensor.shape))


def _read_plain(tensor: Any, dtype: torch.dtype, start: int, out: Tensor) -> None:  # noqa: ANN401 - untyped
    stored = tensor.data.reshape(-1).view("uint8")
    run = stored[start * dtype.itemsize : (start + out.numel()) * dtype.itemsize]
    out.view(torch.uint8).copy_(torch.from_numpy(run.copy()))


def _read_blocks(library: Any, tensor: Any, start: int, out: Tensor) -> None:  # noqa: ANN401 - untyped library
    """Blocks are as long as a power of two: runs begin and end between them."""
    size, num_bytes = library.GGML_QUANT_SIZES[tensor.tensor_type]
    stored = tensor.data.reshape(-1).view("uint8")
    blocks = stored[start // size * num_bytes : -(-(start + out.numel()) // size) * num_bytes]
    values = library.dequantize(blocks.reshape(-1, num_bytes), tensor.tensor_type).reshape(-1)
    out.copy_(torch.from_numpy(values[start % size : start % size + out.numel()]))
