"""The weights of one part of a network, which take up memory of a device only while they are there."""

import math
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

_ALIGNMENT = 256
"""Bytes; of where a tensor begins, so that kernels are the ones they are for a tensor of its own."""
_CHUNK_BYTES = 1 << 25
"""Of pinned memory, of which torch takes powers of two."""


class Home(Protocol):
    """Where weights are while they are not on the device."""

    def fill(self, room: "Room") -> None:
        """Put the weights into a room that is open; on a GPU by way of the current stream."""
        ...


class Room:
    """One buffer on the device with all weights of a part; it can be closed, and opened again.

    Tensors stay the same objects and become views of the buffer, also those that autograd keeps: they can be
    used whenever the room is open and filled. In a closed room the buffer has no bytes, and torch refuses to
    read.
    """

    def __init__(self, tensors: Sequence[Tensor], device: torch.device) -> None:
        """Move the tensors in; those without memory of their own only get their places."""
        starts, self.num_bytes = _places(tensors)
        self.flat = torch.empty(self.num_bytes, dtype=torch.uint8, device=device)
        self.views: list[Tensor] = []
        for tensor, start in zip(tensors, starts, strict=True):
            view = self.flat[start : start + tensor.nbytes].view(tensor.dtype).view(tensor.shape)
            if tensor.untyped_storage().nbytes():
                view.copy_(tensor.detach())
            tensor.data = view
            self.views.append(view)

    @property
    def is_open(self) -> bool:
        return self.flat.untyped_storage().nbytes() > 0

    def open(self) -> None:
        """Take memory; what is in it is not said."""
        self.flat.untyped_storage().resize_(self.num_bytes)

    def close(self) -> None:
        self.flat.untyped_storage().resize_(0)


class MemoryHome:
    """The computer's memory: pinned for a GPU, so that copies run beside what it computes."""

    def __init__(self, room: Room) -> None:
        """Keep what is in the room."""
        is_pinned = room.flat.is_cuda
        self._chunks = [
            torch.empty(part.shape, dtype=part.dtype, pin_memory=is_pinned).copy_(part)
            for part in room.flat.split(_CHUNK_BYTES)
        ]

    def fill(self, room: Room) -> None:
        for part, chunk in zip(room.flat.split(_CHUNK_BYTES), self._chunks, strict=True):
            part.copy_(chunk, non_blocking=True)


def weights_of(module: nn.Module) -> list[Tensor]:
    """What a module computes with and what does not learn, each tensor once; the parts of composed ones."""
    tensors = [*module.parameters(), *module.buffers()]
    plain = [part for tensor in tensors if not tensor.requires_grad for part in _plain(tensor)]
    return list({id(tensor): tensor for tensor in plain}.values())


def absent(shape: torch.Size, dtype: torch.dtype, device: torch.device | str) -> Tensor:
    """A tensor that has no memory yet; a room gives it some."""
    tensor = torch.empty(shape, dtype=dtype, device=device)
    tensor.untyped_storage().resize_(0)
    return tensor


def _plain(tensor: Tensor) -> list[Tensor]:
    """The tensors of which another kind of tensor is made, as torchao's are."""
    if not hasattr(tensor, "__tensor_flatten__"):
        return [tensor]
    names, _ = tensor.__tensor_flatten__()  # pyright: ignore[reportAttributeAccessIssue]
    return [part for name in names for part in _plain(getattr(tensor, name))]


def _places(tensors: Sequence[Tensor]) -> tuple[list[int], int]:
    """Where each begins in a buffer of bytes, and how many it needs."""
    starts: list[int] = []
    end = 0
    for tensor in tensors:
        starts.append(end)
        end += math.ceil(tensor.nbytes / _ALIGNMENT) * _ALIGNMENT
    return starts, end
