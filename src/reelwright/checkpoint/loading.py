"""Weights from files into networks, streamed piece by piece straight to their final number format."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor, nn

from reelwright.checkpoint.key_map import KeyMap
from reelwright.checkpoint.layout_fit import Shape, check_fit, check_not_quantized, detect_layout, fit_layout
from reelwright.checkpoint.safetensors_io import open_tensors
from reelwright.checkpoint.stored_tensor import StoredTensor, staging_buffer
from reelwright.checkpoint.tensor_source import TensorSource

__all__ = ["Hold", "check_network", "detect_layout", "expected_shapes", "load_network", "load_weights"]

Hold = Callable[[nn.Module, str, StoredTensor, torch.dtype], bool]
"""(network, our name, tensor, number format to compute in) -> whether it was read and put into the network in
another way; asked for each tensor of fractional numbers that the network does not share."""


def check_network(network: nn.Module, path: Path, layouts: Sequence[KeyMap]) -> None:
    """Raise CheckpointError unless the files at `path` hold this network in one of the layouts."""
    check_shapes(expected_shapes(network), path, layouts)


def check_shapes(expected: Mapping[str, Shape], path: Path, layouts: Sequence[KeyMap]) -> None:
    """Raise CheckpointError unless the files at `path` hold tensors of these names and shapes of ours."""
    with open_tensors(path) as source:
        detect_layout(source, layouts, expected)


def load_network(
    network: nn.Module,
    path: Path,
    layouts: Sequence[KeyMap],
    *,
    device: torch.device,
    dtype: torch.dtype,
    keep_float32: Callable[[str], bool] = lambda name: False,
    hold: Hold | None = None,
) -> None:
    """Give a network on the meta device the weights at `path`, to compute with and not to train."""
    with open_tensors(path) as source:
        layout = detect_layout(source, layouts, expected_shapes(network))
        load_weights(
            network, source, layout, dtype=dtype, device=device, keep_float32=keep_float32, hold=hold
        )
    network.requires_grad_(requires_grad=False).eval()


def load_weights(
    model: nn.Module,
    source: TensorSource,
    key_map: KeyMap,
    *,
    dtype: torch.dtype,
    device: torch.device | str = "cpu",
    keep_float32: Callable[[str], bool] = lambda name: False,
    hold: Hold | None = None,
) -> None:
    """Give a network built on the meta device its weights.

    Floating-point tensors become `dtype`, or float32 where `keep_float32` says so of our name; others keep
    their own, and what `hold` takes is as it makes it. Tensors that the network shares stay shared. What no
    file holds is computed by its modules' `reset_buffers()`. Raises CheckpointError, before anything is
    allocated, if the tensors do not fit.
    """
    slots = _slots(model)
    fit = fit_layout(source, key_map, {slot.name: tuple(slot.empty.shape) for slot in slots})
    check_fit(source, fit)
    fractional = (slot.name for slot in slots if slot.empty.is_floating_point())
    check_not_quantized(source, (fit.located[name].file_name for name in fractional))
    staging = staging_buffer()
    for slot in slots:
        wanted = torch.float32 if keep_float32(slot.name) else dtype
        stored = StoredTensor(source, fit.located[slot.name], tuple(slot.empty.shape), staging)
        if hold is None or not slot.may_be_held or not hold(model, slot.name, stored, wanted):
            final = wanted if slot.empty.is_floating_point() else slot.empty.dtype
            _assign(model, slot, stored.read(final, device))
    _reset_buffers(model, device)


def expected_shapes(model: nn.Module) -> dict[str, Shape]:
    """What a network needs from a file: its parameters and stored buffers, the shared ones once."""
    return {slot.name: tuple(slot.empty.shape) for slot in _slots(model)}


@dataclass(frozen=True, kw_only=True)
class _Slot:
    """A tensor that a network waits for, and every name it has there."""

    empty: Tensor
    names: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.names[0]

    @property
    def may_be_held(self) -> bool:
        return self.empty.is_floating_point() and len(self.names) == 1


def _slots(model: nn.Module) -> list[_Slot]:
    names: dict[int, list[str]] = {}
    tensors: dict[int, Tensor] = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        tensors[id(tensor)] = tensor
        names.setdefault(id(tensor), []).append(name)
    return [_Slot(empty=tensors[key], names=tuple(names[key])) for key in names]


def _assign(model: nn.Module, slot: _Slot, values: Tensor) -> None:
    is_parameter = isinstance(slot.empty, nn.Parameter)
    tensor = nn.Parameter(values, requires_grad=slot.empty.requires_grad) if is_parameter else values
    for name in slot.names:
        owner, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(owner), leaf, tensor)


def _reset_buffers(model: nn.Module, device: torch.device | str) -> None:
    for module in model.modules():
        reset = getattr(module, "reset_buffers", None)
        if reset is not None:
            with torch.device(device):
                reset()
    tensors = chain(model.named_parameters(), model.named_buffers())
    empty = [name for name, tensor in tensors if tensor.is_meta]
    if empty:
        raise ValueError(
            f"{type(model).__name__}: no values for {', '.join(empty[:5])}; define reset_buffers()"
        )
