"""Activations of blocks made again in the backward pass rather than kept (arXiv 1604.06174).

A block's own `forward` is put into a frame from outside: names of parameters stay as they are, layers inside
may still be exchanged, and what shares out a block's weights works around the frame.

PyTorch's own checkpoint makes all again that a block saved. Here weights and small tensors, such as gates,
are kept as they are, so that a block runs only up to the last large tensor that is needed: its last matrix
product is not done twice. And what a block does with a few tokens at a time is made again for a few tokens
at a time.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, nullcontext, suppress
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx
from torch.autograd.graph import saved_tensors_hooks
from torch.multiprocessing.reductions import StorageWeakRef

from reelwright.nn.feed_forward import InPieces, in_pieces

_SMALL = 0.01
"""Of the largest input; less is not worth making again."""
_TOKENS_AT_A_TIME, _TOKENS_AT_A_TIME_ON_GPU = 512, 4096


def checkpoint_blocks(
    stack: nn.ModuleList, *, offload: bool, keep_last: bool = False, in_pieces: bool = True
) -> None:
    """Keep of each block little more than its inputs for the backward pass, with the same gradients.

    Random numbers are drawn again as they were. `offload`: the inputs of blocks on a GPU wait in pinned
    memory of the computer; elsewhere they stay where they are. `keep_last`: the last block's activations
    are needed at once, so only what it does piece by piece is made again. `in_pieces`: what blocks do with a
    few tokens at a time is made again so, too, which cannot be inside compiled blocks.
    """
    for number, block in enumerate(stack, start=1):
        for module in block.modules():
            if in_pieces and isinstance(module, InPieces):
                module.in_pieces = partial(_run_in_pieces, module)
        if number < len(stack) or not keep_last:
            block.forward = partial(_run, block, block.forward, offload)


def _run(
    block: nn.Module, forward: Callable[..., object], offload: bool, /, *inputs: object, **named: object
) -> object:
    if not torch.is_grad_enabled():
        return forward(*inputs, **named)
    with saved_tensors_hooks(_to_host, _to_device) if offload else nullcontext():
        kept = _Inputs(inputs)
    frame = _Frame(block, partial(forward, **named), kept.bring, kept.largest)
    with saved_tensors_hooks(frame.set_aside, frame.bring):
        return forward(*inputs, **named)


def _run_in_pieces(module: nn.Module, transform: Callable[..., Tensor], *tokens_BLD: Tensor) -> Tensor:
    """As `in_pieces`; the pieces are made again one by one, from inputs that are kept together."""
    if not torch.is_grad_enabled():
        return in_pieces(transform, *tokens_BLD)
    kept = _Inputs(tokens_BLD)
    size = _TOKENS_AT_A_TIME if tokens_BLD[0].device.type == "cpu" else _TOKENS_AT_A_TIME_ON_GPU
    num_pieces = -(-tokens_BLD[0].shape[-2] // size)
    results: list[Tensor] = []
    for piece in zip(*(tensor.chunk(num_pieces, dim=-2) for tensor in tokens_BLD), strict=True):
        bring = partial(_bring_piece, kept, len(results), num_pieces)
        frame = _Frame(module, transform, bring, max(tensor.numel() for tensor in piece))
        with saved_tensors_hooks(frame.set_aside, frame.bring):
            results.append(transform(*piece))
    return torch.cat(results, dim=-2)


def _bring_piece(kept: "_Inputs", index: int, num_pieces: int) -> list[object]:
    pieces = [cast(Tensor, each).detach().chunk(num_pieces, dim=-2)[index] for each in kept.bring()]
    return [piece.requires_grad_(learns) for piece, learns in zip(pieces, kept.learn, strict=True)]


def _to_host(kept: Tensor) -> tuple[torch.device, Tensor]:
    # Rotations, the one complex input, are the same for all blocks: there is nothing to win.
    if not kept.is_cuda or not kept.is_floating_point():
        return kept.device, kept
    waiting = torch.empty(kept.shape, dtype=kept.dtype, pin_memory=True)
    return kept.device, waiting.copy_(kept, non_blocking=True)


def _to_device(waiting: tuple[torch.device, Tensor]) -> Tensor:
    device, kept = waiting
    return kept.to(device, non_blocking=True)


class _Inputs:
    """What something was given, without the graph behind it.

    Tensors are saved as any operation saves its own, so that a frame around this one can set them aside.
    """

    def __init__(self, values: Sequence[object]) -> None:
        tensors = [value for value in values if isinstance(value, Tensor)]
        self.learn = [tensor.requires_grad for tensor in tensors]
        self.largest = max((tensor.numel() for tensor in tensors), default=0)
        self._others = [None if isinstance(value, Tensor) else (value,) for value in values]
        self._saver: Any = _Saver.apply(torch.empty(0, requires_grad=True), *tensors).grad_fn
        self._brought: list[object] | None = None

    def bring(self) -> list[object]:
        """The same each time: what a frame around this one set aside, it makes once."""
        if self._brought is None:
            saved: Iterable[Tensor] = self._saver.saved_tensors
            tensors = (
                each.detach().requires_grad_(learns) for each, learns in zip(saved, self.learn, strict=True)
            )
            self._brought = [next(tensors) if other is None else other[0] for other in self._others]
        return self._brought


class _Saver(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, start: Tensor, *tensors: Tensor) -> Tensor:
        ctx.save_for_backward(*tensors)
        return start.new_empty(0)

    @staticmethod
    def backward(
        ctx: Any,  # noqa: ANN401 - torch types it so
        *gradients: Tensor,
    ) -> None:
        raise AssertionError("nothing follows from what this returns")


class _Enough(Exception):  # noqa: N818 - it ends a second run, and is no error
    pass


class _Frame:
    """One run of something. What its operations save is numbered, and made when the first is asked for."""

    def __init__(
        self,
        module: nn.Module,
        forward: Callable[..., object],
        bring_inputs: Callable[[], list[object]],
        largest: int,
    ) -> None:
        """`largest`: how many numbers the largest input holds."""
        self._module, self._forward, self._bring_inputs = module, forward, bring_inputs
        self._small = _SMALL * largest
        self._conditions = _Conditions(next(module.parameters()).device)
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
        """Run again, as far as something large was saved."""
        self._weights = self._storages()
        made: list[Tensor] = []

        def take(saved: Tensor) -> None:
            if self._stays(saved):
                return
            made.append(saved.detach())
            if len(made) == self._num_saved:
                raise _Enough

        inputs = self._bring_inputs()
        with self._conditions.restored(), saved_tensors_hooks(take, _never), suppress(_Enough):
            self._forward(*inputs)
        self._made = dict(enumerate(made))

    def _stays(self, saved: Tensor) -> bool:
        return saved.numel() <= self._small or _storage_of(saved) in self._weights

    def _storages(self) -> set[int]:
        """Where the weights are: whoever shares them out may put them elsewhere meanwhile."""
        weights = [*self._module.parameters(), *self._module.buffers()]
        return {_storage_of(weight) for weight in weights}


def _storage_of(tensor: Tensor) -> int:
    """Which memory it is in; tensors without values, which plans look at, have some of their own, too."""
    return StorageWeakRef(tensor.untyped_storage()).cdata


class _Conditions:
    """Random numbers and precision as they are now, to be had again."""

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
    raise RuntimeError("the backward pass went through what was only run again for what it saves")
