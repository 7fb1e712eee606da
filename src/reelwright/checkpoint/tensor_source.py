"""Named tensors in files, read piece by piece so that memory holds only what is wanted."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from reelwright.core.errors import CheckpointError


@dataclass(frozen=True, kw_only=True)
class TensorEntry:
    """One tensor of a file: what it is, and how to read a run of its elements."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    read_into: Callable[[int, Tensor], None]
    """`read_into(start, out)` fills a flat `out` of that dtype with the elements from `start` on."""
    path: Path


class TensorSource:
    """The tensors of one or more files, readable by name until it is closed.

    Shapes and dtypes are known without reading. A whole tensor may be larger than the memory to spare,
    hence the reading in runs. A context manager; readers of a closed source fail.
    """

    def __init__(
        self,
        entries: Mapping[str, TensorEntry],
        *,
        paths: Sequence[Path],
        metadata: Mapping[str, str] | None = None,
        close: Callable[[], None] = lambda: None,
    ) -> None:
        self._entries = dict(entries)
        self.paths = tuple(paths)
        self.metadata: Mapping[str, str] = dict(metadata or {})
        self.close = close

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def names(self) -> list[str]:
        return list(self._entries)

    def shape(self, name: str) -> tuple[int, ...]:
        return self._entries[name].shape

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: entry.shape for name, entry in self._entries.items()}

    def dtype(self, name: str) -> torch.dtype:
        return self._entries[name].dtype

    def read(self, name: str) -> Tensor:
        """The whole tensor, in the file's dtype."""
        tensor = torch.empty(self.shape(name), dtype=self.dtype(name))
        self.read_into(name, 0, tensor.view(-1))
        return tensor

    def read_into(self, name: str, start: int, out: Tensor) -> None:
        """Fill `out` with the elements of the flattened tensor from `start` on.

        `out` is flat, contiguous, in CPU memory and of the file's dtype.
        """
        self._entries[name].read_into(start, out)

    @property
    def origin(self) -> Path:
        """What to call this source in a message: the file, or the folder of several files."""
        return self.paths[0] if len(self.paths) == 1 else self.paths[0].parent


def tensors_in_memory(tensors: Mapping[str, Tensor], path: Path) -> TensorSource:
    """A source over tensors that are in memory already; `path` is where they are said to come from."""
    return TensorSource({name: _entry_of(tensor, path) for name, tensor in tensors.items()}, paths=[path])


def combine(sources: Sequence[TensorSource]) -> TensorSource:
    """One source over the tensors of several files. Raises CheckpointError if a name appears twice."""
    entries: dict[str, TensorEntry] = {}
    for source in sources:
        for name, entry in source._entries.items():
            if name in entries:
                raise CheckpointError(
                    f"{entry.path}: {name} is also in {entries[name].path.name}."
                    " Remove the file that does not belong to this model."
                )
            entries[name] = entry

    def close_all() -> None:
        for source in sources:
            source.close()

    paths = [path for source in sources for path in source.paths]
    return TensorSource(entries, paths=paths, metadata=sources[0].metadata, close=close_all)


def _entry_of(tensor: Tensor, path: Path) -> TensorEntry:
    def read_into(start: int, out: Tensor) -> None:
        out.copy_(tensor.detach().reshape(-1)[start : start + out.numel()])

    return TensorEntry(shape=tuple(tensor.shape), dtype=tensor.dtype, read_into=read_into, path=path)
