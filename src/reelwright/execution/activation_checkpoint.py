"""Activations of blocks computed again in the backward pass rather than kept.

A block's own `forward` is put into a frame from outside: names of parameters stay as they are, layers inside
may still be exchanged, and what shares out a block's weights works around the frame.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.checkpoint import checkpoint


def checkpoint_blocks(stack: nn.ModuleList, *, offload: bool) -> None:
    """Keep of each block no more than its inputs for the backward pass, with the same gradients.

    Random numbers are drawn again as they were. `offload`: the inputs of blocks on a GPU wait in pinned
    memory of the computer; elsewhere they stay where they are.
    """
    run = _run_offloaded if offload else _run
    for block in stack:
        block.forward = partial(run, block.forward)


def _run(forward: Callable[..., object], /, *inputs: object, **named: object) -> object:
    if not torch.is_grad_enabled():
        return forward(*inputs, **named)
    return checkpoint(partial(forward, **named), *inputs, use_reentrant=False)


def _run_offloaded(forward: Callable[..., object], /, *inputs: object, **named: object) -> object:
    with saved_tensors_hooks(_to_host, _to_device):
        return _run(forward, *inputs, **named)


def _to_host(kept: Tensor) -> tuple[torch.device, Tensor]:
    # Rotations, the one complex input, are the same for all blocks: there is nothing to win.
    if not kept.is_cuda or not kept.is_floating_point():
        return kept.device, kept
    waiting = torch.empty(kept.shape, dtype=kept.dtype, pin_memory=True)
    return kept.device, waiting.copy_(kept, non_blocking=True)


def _to_device(waiting: tuple[torch.device, Tensor]) -> Tensor:
    device, kept = waiting
    return kept.to(device, non_blocking=True)
