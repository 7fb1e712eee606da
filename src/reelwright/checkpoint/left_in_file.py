"""Weights that stay in their files, from which they are read whenever they are used."""

import weakref
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from reelwright.checkpoint.rooms import Home, MemoryHome, Room, absent, weights_of
from reelwright.checkpoint.safetensors_io import open_tensors
from reelwright.checkpoint.stored_tensor import StoredTensor, staging_buffer

_ATTRIBUTE = "left_in_file"


class LeaveInFile:
    """Takes part in loading as a `Hold`: tensors that it takes get no memory, and know where they are.

    Their file stays open as long as one of them lives.
    """

    def __init__(
        self, path: Path, choose: Callable[[nn.Module], frozenset[str]], device: torch.device
    ) -> None:
        """`choose` names the tensors of a network that are left; `device` is where they will be used."""
        self._choose, self._device = choose, device
        self._chosen: frozenset[str] | None = None
        self._source, self._staging = open_tensors(path), staging_buffer()
        weakref.finalize(self, self._source.close)

    def __call__(self, network: nn.Module, name: str, stored: StoredTensor, dtype: torch.dtype) -> bool:
        if self._chosen is None:
            self._chosen = self._choose(network)
        if name not in self._chosen:
            return False
        place = stored.elsewhere(self._source, self._staging)
        tensor = absent(torch.Size(stored.shape), dtype, self._device)
        owner, _, leaf = name.rpartition(".")
        module = network.get_submodule(owner)
        if leaf in dict(module.named_parameters(recurse=False)):
            tensor = nn.Parameter(tensor, requires_grad=False)
        setattr(module, leaf, tensor)
        setattr(tensor, _ATTRIBUTE, (place, self))
        return True


class FileHome:
    """Reads at each use, and converts on the way. Raises CheckpointError if the file was changed."""

    is_on_disk = True

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        """`tensors` were left in a file; the room's are the same, in the same order."""
        self._stored: list[tuple[StoredTensor, LeaveInFile]] = [
            getattr(tensor, _ATTRIBUTE) for tensor in tensors
        ]

    def fill(self, room: Room) -> None:
        for (stored, _), view in zip(self._stored, room.views, strict=True):
            stored.fill(view)


def make_room(module: nn.Module, device: torch.device) -> tuple[Room, Home]:
    """Of the weights of a module that are left in a file, if any are, else of all; the room is closed."""
    if left := [tensor for tensor in weights_of(module) if hasattr(tensor, _ATTRIBUTE)]:
        room = Room(left, device, has_values=False)
        home: Home = FileHome(left)
    else:
        room = Room(weights_of(module.to(device)), device, has_values=True)
        home = MemoryHome(room)
    room.close()
    return room, home
