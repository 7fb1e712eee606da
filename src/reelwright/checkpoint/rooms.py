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

    @property
    def is_on_disk(self) -> bool:
        """Whether filling a room waits for a disk, beside which there is something to do."""
        ...

    def fill(self, room: "Room") -> None:
        """Put the weights into a room that is open; on a GPU by way of the current stream."""
        ...


class Room:
    """One buffer on the device with all weights of a part; it can be closed, and opened again.

    Tensors stay the same objects, and are views of the buffer while the room is open. So are those that
    autograd keeps, which are of use whenever it is open and filled. While it is closed the buffer has no
    bytes, and whoever reads a tensor finds that it is not a number.
    """

    def __init__(self, tensors: Sequence[Tensor], device: torch.device, *, has_values: bool) -> None:
        """Take in tensors, with their values if they have some, which is all that fills the open room."""
        self._tensors = tensors
        starts, self.num_bytes = _places(tensors)
        self.flat = torch.empty(self.num_bytes, dtype=torch.uint8, device=device)
        self.views: list[Tensor] = []
        for tensor, start in zip(tensors, starts, strict=True):
            view = self.flat[start : start + tensor.nbytes].view(tensor.dtype).view(tensor.shape)
            if has_values:
                view.copy_(tensor.detach())
            tensor.data = view
            self.views.append(view)
        self._nothing = [absent(view.shape, view.dtype, device) for view in self.views]

    @property
    def is_open(self) -> bool:
        return self.flat.untyped_storage().nbytes() > 0

    def open(self) -> None:
        """Take memory; what is in it is not said."""
        self.flat.untyped_storage().resize_(self.num_bytes)
        self._show(self.views)

    def close(self) -> None:
        # Kernels would follow a pointer to nowhere.
        self._show(self._nothing)
        self.flat.untyped_storage().resize_(0)

    def _show(self, values: Sequence[Tensor]) -> None:
        for tensor, value in zip(self._tensors, values, strict=True):
            tensor.data = value


class MemoryHome:
    """The computer's memory: pinned for a GPU, so that copies run beside what it computes."""

    is_on_disk = False

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
    """A tensor that stands for one whose values are elsewhere: one number, repeated."""
    value = math.nan if dtype.is_floating_point else 0
    return torch.full((), value, dtype=dtype, device=device).expand(shape)


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
