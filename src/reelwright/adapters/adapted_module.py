"""A layer with LoRAs beside it: the weights stay as they are, and strengths can change at any time."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from reelwright.adapters.factors import Adapter


class AdaptedModule(nn.Module):
    """Adds to a linear layer or convolution what its adapters make of the same input.

    LoRA of a linear layer runs through its two thin matrices; all else needs the whole change of the weight
    in memory.
    """

    def __init__(self, wrapped: nn.Module, num_files: int) -> None:
        super().__init__()
        self.wrapped = wrapped
        self.branches = nn.ModuleList()
        self.file_of_branch: list[int] = []
        self.multipliers = [1.0] * num_files

    @property
    def weight(self) -> Tensor:
        """That of the layer, whose number format networks ask for; the layer may make it at each call."""
        return _weight_of(self.wrapped)

    def add(self, adapter: Adapter, file: int) -> None:
        """Let an adapter of the file of that number take part."""
        is_thin = not _is_convolution(self.wrapped) and adapter.kind == "lora" and adapter.of == 1
        self.branches.append((_ThinBranch if is_thin else _WholeBranch)(adapter, self.wrapped))
        self.file_of_branch.append(file)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.wrapped(inputs)
        for branch, file in zip(self.branches, self.file_of_branch, strict=True):
            if multiplier := self.multipliers[file]:
                outputs = torch.add(outputs, branch(inputs), alpha=multiplier)
        return outputs


def set_multipliers(network: nn.Module, multipliers: Sequence[float]) -> None:
    """Change how strongly each file's adapters act; in the order in which the files were given.

    Raises ValueError if the network has no adapters beside its weights, or those of another number of files.
    """
    adapted = [module for module in network.modules() if isinstance(module, AdaptedModule)]
    if not adapted:
        raise ValueError("the network has no adapters beside its weights")
    for module in adapted:
        if len(module.multipliers) != len(multipliers):
            raise ValueError(f"{len(multipliers)} multipliers for {len(module.multipliers)} files")
        module.multipliers = list(multipliers)


class _ThinBranch(nn.Module):
    def __init__(self, adapter: Adapter, wrapped: nn.Module) -> None:
        super().__init__()
        weight = _weight_of(wrapped)
        down, up = (adapter.factors[name].flatten(1).to(weight.device).float() for name in ("down", "up"))
        self.register_buffer("down", down.to(weight.dtype))
        self.register_buffer("up", (up * adapter.scale).to(weight.dtype))

    def forward(self, inputs: Tensor) -> Tensor:
        return F.linear(F.linear(inputs, self.get_buffer("down")), self.get_buffer("up"))


class _WholeBranch(nn.Module):
    def __init__(self, adapter: Adapter, wrapped: nn.Module) -> None:
        super().__init__()
        weight = _weight_of(wrapped)
        self._layer = [wrapped]  # in a list, so that it is not a part of this module too
        self.register_buffer("delta", adapter.delta(weight.device).view(weight.shape).to(weight.dtype))
        bias = getattr(wrapped, "bias", None)
        self._has_bias = isinstance(bias, Tensor)
        if isinstance(bias, Tensor):
            self.register_buffer("no_bias", torch.zeros_like(bias))

    def forward(self, inputs: Tensor) -> Tensor:
        changed = {"weight": self.get_buffer("delta")}
        if not _is_convolution(self._layer[0]):
            return F.linear(inputs, changed["weight"])
        if self._has_bias:
            changed["bias"] = self.get_buffer("no_bias")
        return functional_call(self._layer[0], changed, (inputs,))


def _weight_of(layer: nn.Module) -> Tensor:
    return cast(Tensor, layer.weight)


def _is_convolution(layer: nn.Module) -> bool:
    return isinstance(layer, nn.modules.conv._ConvNd)
