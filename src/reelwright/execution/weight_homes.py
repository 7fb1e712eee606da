"""Where weights wait while no device holds them."""

from collections.abc import Callable
from functools import partial
from tempfile import TemporaryFile
from typing import Any, Literal

import torch
from torch import Tensor

from reelwright.core.paths import cache_folder, cannot_write

Keep = Callable[[Tensor], Callable[[], Tensor]]
"""Takes in a tensor's values; what it returns brings them to the device, to be let go of after use."""


def home_of(kind: Literal["memory", "disk"], device: torch.device) -> Keep:
    """Memory serves only a GPU with memory of its own: for others nothing would be won, so disk it is."""
    if kind == "memory" and device.type == "cuda":
        return partial(keep_in_memory, device=device)
    return ScratchFile(device).keep


def keep_in_memory(tensor: Tensor, *, device: torch.device) -> Callable[[], Tensor]:
    """Keep values in the computer's memory.

    It is not pinned: they are read once in a run, and pinned memory is taken in powers of two.
    """
    return partial(tensor.detach().cpu().to, device)


class ScratchFile:
    """Weights in a file that has no name, and is gone when nobody holds it any more, whatever happens.

    It lies in the folder of caches: folders of temporary files are in memory on some systems.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        folder = cache_folder()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 - it lives as long as this
        except OSError as error:
            raise cannot_write(folder, error) from error

    def keep(self, tensor: Tensor) -> Callable[[], Tensor]:
        """Write values. Raises FileError where the disk refuses."""
        values = tensor.detach().cpu().contiguous()
        start = self._file.seek(0, 2)
        try:
            _write(self._file.write, _bytes_of(values))
        except OSError as error:
            raise cannot_write(cache_folder(), error) from error
        return partial(self._read, start, values.shape, values.dtype)

    def _read(self, start: int, shape: torch.Size, dtype: torch.dtype) -> Tensor:
        # Into memory that torch has laid out: products of matrices that lie otherwise may round otherwise.
        values = torch.empty(shape, dtype=dtype)
        rest = _bytes_of(values)
        self._file.seek(start)
        while len(rest):
            rest = rest[self._file.readinto(rest) :]
        return values.to(self._device)


def _write(write: Callable[[memoryview], int], rest: memoryview) -> None:
    """All of it: one call writes 2 GB at most."""
    while len(rest):
        rest = rest[write(rest) :]


def _bytes_of(values: Tensor) -> memoryview:
    content: Any = values.view(-1).view(torch.uint8).numpy()
    return memoryview(content)
