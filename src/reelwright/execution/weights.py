"""Weights of linear layers put into few bits while they stream from files, and back into files."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from reelwright.checkpoint.loading import Hold
from reelwright.checkpoint.scales import SCALE_WEIGHT
from reelwright.checkpoint.stored_tensor import StoredTensor
from reelwright.execution.block_swap import leave_swapped, loading_device
from reelwright.execution.devices import choose_device
from reelwright.execution.facts import DenoiserFacts
from reelwright.execution.fp8 import BLOCK, QuantizedLinear, layers_of_blocks, round_plain, round_scaled
from reelwright.execution.integers import check_integers, round_int4, round_int8
from reelwright.execution.rounded_weight import RoundedWeight
from reelwright.protocols.configs import ExecutionConfig
from reelwright.protocols.policy_configs import TextWeights, WeightFormat

AddTo = Callable[[str], Callable[[Tensor], None] | None]
"""What adds LoRAs to the weight of a module, in place; None if none changes it."""

ROUNDINGS: dict[WeightFormat, Callable[[Tensor], RoundedWeight]] = {
    "fp8": round_plain,
    "fp8_scaled": round_scaled,
    "int8": round_int8,
    "int4": round_int4,
}


class Encoder(Protocol):
    """What `round_encoder` is for."""

    hold: Hold | None
    rounding: str


_BITS = {"fp8": "fp8", "fp8_scaled": "fp8, scaled block by block", "int8": "int8", "int4": "int4"}


class HeldWeights:
    """Takes weights of linear layers as `Hold` of checkpoint.loading: only one is ever there in full.

    In the format that is wanted, or where that is `full`, in that of the file. LoRAs are added before a
    weight is rounded.
    """

    def __init__(
        self,
        wanted: WeightFormat,
        choose: Callable[[nn.Module], Iterable[str]],
        device: torch.device,
        add_to: AddTo = lambda module: None,
    ) -> None:
        """`choose` names the linear layers of a network to round; others stay as files have them."""
        self._wanted: WeightFormat = wanted
        self._choose = choose
        self._device = device
        self._add_to = add_to
        self._chosen: frozenset[str] | None = None

    def __call__(self, network: nn.Module, name: str, stored: StoredTensor, dtype: torch.dtype) -> bool:
        module, _, leaf = name.rpartition(".")
        layer = network.get_submodule(module)
        if leaf != "weight" or not isinstance(layer, nn.Linear):
            return False
        in_file = format_in_file(stored)
        wanted = self._wanted if module in self._chosen_of(network) else in_file
        if wanted == "full":
            return False
        rounded = self._round(stored, module, in_file, wanted)
        network.set_submodule(module, QuantizedLinear(rounded, getattr(layer, "bias", None), dtype))
        return True

    def _chosen_of(self, network: nn.Module) -> frozenset[str]:
        if self._chosen is None:
            self._chosen = frozenset(() if self._wanted == "full" else self._choose(network))
        return self._chosen

    def _round(
        self, stored: StoredTensor, module: str, in_file: WeightFormat, wanted: WeightFormat
    ) -> RoundedWeight:
        add = self._add_to(module)
        if add is None and wanted == in_file:
            values, scale = stored.read_quantized(self._device)
            return RoundedWeight(format=wanted, values=values, scale=scale)
        # In the file's number format, so that what is written and what runs are rounded from the same.
        weight = stored.read(stored.full_dtype, self._device)
        if add is not None:
            add(weight)
        return ROUNDINGS[wanted](weight)


def hold_weights(config: ExecutionConfig, path: Path, facts: DenoiserFacts, add_to: AddTo) -> Hold:
    """What takes weights while a network is loaded from `path`: rounded as wanted, or left in the file."""
    device = choose_device(config.device)
    choose = partial(layers_of_blocks, is_wanted=facts.is_quantized)
    held = HeldWeights(config.weights, choose, loading_device(config, device), add_to)
    left = leave_swapped(config, path, device)
    if left is None:
        return held
    return lambda network, name, stored, dtype: (
        left(network, name, stored, dtype) or held(network, name, stored, dtype)
    )


def round_encoder(encoder: Encoder, wanted: TextWeights, device: torch.device) -> None:
    """Have the linear layers of an encoder rounded when it is loaded, which is not yet."""
    check_weights(wanted)
    encoder.rounding = "" if wanted == "full" else wanted
    # Scaled block by block, fp8 loses less and needs no more.
    encoder.hold = HeldWeights("fp8_scaled" if wanted == "fp8" else wanted, _linear_layers, device)


def in_memory(config: ExecutionConfig) -> ExecutionConfig:
    """Without swapping: all weights are there when they are to be written."""
    return replace(config, block_swap=0)


def check_weights(wanted: WeightFormat) -> None:
    """Raise ConfigError if a library that the format needs is not there."""
    if wanted in ("int8", "int4"):
        check_integers()


def format_in_file(stored: StoredTensor) -> WeightFormat:
    """fp8, with or without scales, or full."""
    if stored.dtype.itemsize > 1 or not stored.dtype.is_floating_point:
        return "full"
    return "fp8_scaled" if stored.has_scale else "fp8"


def tensors_to_save(network: nn.Module) -> dict[str, Tensor]:
    """A network's tensors by our names, with scales as `scale_weight`; those of a row are [out, 1]."""
    tensors = network.state_dict()
    for name, module in _rounded_layers(network):
        values = tensors.pop(f"{name}.quantized")
        scale = None if module.scale is None else tensors.pop(f"{name}.scale")
        tensors |= saved_weight(name, values, scale)
    return tensors


def saved_weight(module: str, values: Tensor, scale: Tensor | None) -> dict[str, Tensor]:
    """The weight of a linear layer in 8 bits as files have it; `scale` as [out, blocks, 1]."""
    saved = {f"{module}.weight": values}
    if scale is not None:
        saved[f"{module}.{SCALE_WEIGHT}"] = scale.flatten(1) if values.shape[-1] % BLOCK else scale
    return saved


def held_formats(network: nn.Module) -> list[WeightFormat]:
    """In which formats of few bits a network holds weights."""
    found = {module.format for _, module in _rounded_layers(network)}
    return [each for each in ROUNDINGS if each in found]


class RoundedWeights:
    """Tells the record that weights were rounded; there is nothing to do when a run starts."""

    def __init__(self, formats: Iterable[WeightFormat]) -> None:
        self.shortcut = f"weights in {', '.join(_BITS[each] for each in formats)}"

    def start(self, calls: object) -> None:
        """Nothing changes from run to run."""

    def enter(self, call: object) -> None:
        """Nor from step to step."""


def _rounded_layers(network: nn.Module) -> list[tuple[str, QuantizedLinear]]:
    return [(name, module) for name, module in network.named_modules() if isinstance(module, QuantizedLinear)]


def _linear_layers(network: nn.Module) -> list[str]:
    return [name for name, module in network.named_modules() if isinstance(module, nn.Linear)]
