"""Activations of blocks made again in the backward pass rather than kept (arXiv 1604.06174).

A block's own `forward` is put into a frame from outside: names of parameters stay as they are, layers inside
may still be exchanged, and what shares out a block's weights works around the frame.

PyTorch's own checkpoint makes all again that a block saved. Here weights and small tensors, such as gates,
are kept as they are, so that a block runs only up to the last large tensor that is needed: its last matrix
product is not done twice.
"""

from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

_SMALL = 0.01
"""Of the largest input; less is not worth making again."""


def checkpoint_blocks(stack: nn.ModuleList, *, offload: bool) -> None:
    """Keep of each block little more than its inputs for the backward pass, with the same gradients.

    Random numbers are drawn again as they were. `offload`: the inputs of blocks on a GPU wait in pinned
    memory of the computer; elsewhere they stay where they are.
    """
    for block in stack:
        block.forward = partial(_run, block, block.forward, offload)


def _run(
    block: nn.Module, forward: Callable[..., object], offload: bool, /, *inputs: object, **named: object
) -> object:
    if not torch.is_grad_enabled():
        return forward(*inputs, **named)
    frame = _Frame(block, partial(forward, **named), inputs, offload=offload)
    with saved_tensors_hooks(frame.set_aside, frame.bring):
        return forward(*inputs, **named)


class _Enough(Exception):  # noqa: N818 - it ends a block's second run, and is no error
    pass


class _Frame:
    """One call of a block. What its operations save is numbered, and made when the first is asked for."""

    def __init__(
        self, block: nn.Module, forward: Callable[..., object], inputs: tuple[object, ...], *, offload: bool
    ) -> None:
        self._block, self._forward = block, forward
        tensors = [each for each in inputs if isinstance(each, Tensor)]
        self._small = _SMALL * max((each.numel() for each in tensors), default=0)
        self._inputs = [_Input(each, offload) if isinstance(each, Tensor) else each for each in inputs]
        self._conditions = _Conditions(tensors[0].device if tensors else torch.device("cpu"))
        self._weights = self._storages()
        self._num_saved = 0
        self._made: dict[int, Tensor] = {}

    def set_aside(self, saved: Tensor) -> Tensor | int:
        """Forget a tensor that can be made again; its number."""
        if self._stays(saved):
            return saved
        self._num_saved += 1
        return self._num_saved - 1

    def bring(self, place: Tensor | int) -> Tensor:
        if isinstance(place, Tensor):
            return place
        if place not in self._made:
            self._make()
        return self._made.pop(place)

    def _make(self) -> None:
        """Run the block again, as far as something large was saved."""
        self._weights = self._storages()
        made: list[Tensor] = []

        def take(saved: Tensor) -> None:
            if self._stays(saved):
                return
            made.append(saved.detach())
            if len(made) == self._num_saved:
                raise _Enough

        with self._conditions.restored(), saved_tensors_hooks(take, _never):
            inputs = [each.bring() if isinstance(each, _Input) else each for each in self._inputs]
            with suppress(_Enough):
                self._forward(*inputs)
        self._made = dict(enumerate(made))

    def _stays(self, saved: Tensor) -> bool:
        return saved.numel() <= self._small or saved.untyped_storage().data_ptr() in self._weights

    def _storages(self) -> set[int]:
        """Where the block's weights are: whoever shares them out may put them elsewhere meanwhile."""
        weights = [*self._block.parameters(), *self._block.buffers()]
        return {weight.untyped_storage().data_ptr() for weight in weights}


class _Input:
    """A tensor that a block was given, without the graph behind it."""

    def __init__(self, tensor: Tensor, offload: bool) -> None:
        self._device, self._learns = tensor.device, tensor.requires_grad
        kept = tensor.detach()
        # Rotations, the one complex input, are the same for all blocks: there is nothing to win.
        if offload and kept.is_cuda and kept.is_floating_point():
            waiting = torch.empty(kept.shape, dtype=kept.dtype, pin_memory=True)
            kept = waiting.copy_(kept, non_blocking=True)
        self._kept = kept

    def bring(self) -> Tensor:
        kept = self._kept.to(self._device, non_blocking=True)
        return kept.detach().requires_grad_(self._learns)


class _Conditions:
    """Random numbers and precision as they were when the block ran first."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._random = torch.get_rng_state()
        self._random_of_gpu = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
        self._autocast = {
            kind: (torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind))
            for kind in {device.type, "cpu"}
        }

    def restored(self) -> ExitStack:
        """A context; afterwards random numbers go on as if nothing had been drawn."""
        entered = ExitStack()
        devices = [] if self._random_of_gpu is None else [self._device]
        entered.enter_context(torch.random.fork_rng(devices=devices))
        torch.set_rng_state(self._random)
        if self._random_of_gpu is not None:
            torch.cuda.set_rng_state(self._random_of_gpu, self._device)
        for kind, (enabled, dtype) in self._autocast.items():
            entered.enter_context(torch.autocast(kind, dtype=dtype, enabled=enabled))
        entered.enter_context(torch.enable_grad())
        return entered


def _never(_: Any) -> Tensor:  # noqa: ANN401 - what hooks may return
    raise RuntimeError("the backward pass went through a block that was only run again for what it saves")
