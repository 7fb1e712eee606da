"""Tensors of PyTorch files (.pt, .pth, .bin), which are pickles: never more is loaded than plain tensors."""

import pickle
import struct
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from reelwright.checkpoint.tensor_source import TensorEntry, TensorSource, tensors_in_memory
from reelwright.core.errors import CheckpointError

_CONTAINERS = ("model", "module", "state_dict")
_MIN_RESIDENT_BYTES = 4 << 20
UNREADABLE = (
    pickle.UnpicklingError,
    struct.error,
    AssertionError,
    ArithmeticError,
    RuntimeError,
    EOFError,
    ValueError,
    LookupError,
    AttributeError,
    TypeError,
    OSError,
)
"""What torch.load raises for a pickle that is damaged, or that wants to run code."""


def open_torch(path: Path) -> TensorSource:
    """The tensors of a PyTorch file, unwrapped from its containers; the file is mapped, not loaded.

    Raises CheckpointError if the file is damaged, holds no tensors, or needs code to be run.
    """
    # torch.load goes by the name, and would take this for another format.
    if path.suffix == ".safetensors":
        return open_legacy_torch(path)
    mapped = _MappedFile(path)
    entries = {name: mapped.entry(name, tensor) for name, tensor in mapped.tensors.items()}
    return TensorSource(entries, paths=[path], close=mapped.close)


def open_legacy_torch(path: Path) -> TensorSource:
    """The tensors of a file that can only be loaded whole, such as those from before PyTorch 1.6."""
    return tensors_in_memory(_load(path, mapped=False), path)


class _MappedFile:
    """Reads by way of a memory mapping, renewed from time to time.

    Pages of a mapping count as memory of this process once they are read; a new mapping starts with none.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.tensors = _load(path, mapped=True)
        total = sum(tensor.nbytes for tensor in self.tensors.values())
        self._budget = max(total // 64, _MIN_RESIDENT_BYTES)
        self._num_resident_bytes = 0

    def entry(self, name: str, tensor: Tensor) -> TensorEntry:
        return TensorEntry(
            shape=tuple(tensor.shape),
            dtype=tensor.dtype,
            read_into=lambda start, out: self._read_into(name, start, out),
            path=self._path,
        )

    def close(self) -> None:
        self.tensors = {}

    def _read_into(self, name: str, start: int, out: Tensor) -> None:
        if self._num_resident_bytes > self._budget:
            self.tensors = {}
            self.tensors = _load(self._path, mapped=True)
            self._num_resident_bytes = 0
        out.copy_(self.tensors[name].reshape(-1)[start : start + out.numel()])
        self._num_resident_bytes += out.nbytes


def _load(path: Path, *, mapped: bool) -> dict[str, Tensor]:
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            # Of odd pickles torch warns as well as failing; the failure is told in our words.
            warnings.simplefilter("ignore")
            origin = path if mapped else file
            content = torch.load(origin, map_location="cpu", weights_only=True, mmap=mapped)
        return _named_tensors(path, content)
    except UNREADABLE as error:
        if "weights_only" in str(error) or "Weights only" in str(error):
            raise CheckpointError(
                f"{path}: this pickle holds more than tensors, and loading it could run any program."
                " It is refused; use a .safetensors file of the same weights."
            ) from error
        raise CheckpointError(f"{path}: the file is damaged or cut short. Fetch it again.") from error


def _named_tensors(path: Path, content: object) -> dict[str, Tensor]:
    tensors = {name: value for name, value in _unwrapped(content).items() if isinstance(value, Tensor)}
    if not tensors:
        raise CheckpointError(
            f"{path}: no named tensors are in this file. Give the file with the model's weights."
        )
    return tensors


def _unwrapped(content: object) -> Mapping[str, Any]:
    for container in _CONTAINERS:
        if isinstance(content, Mapping) and isinstance(content.get(container), Mapping):
            content = content[container]
    return content if isinstance(content, Mapping) else {}
