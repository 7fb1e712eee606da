"""A layer that stays as it is, with factors beside it that learn: LoRA, LoHa (arXiv 2108.06098), LoKr."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from reelwright.adapters.factors import Adapter, AdapterKind, product

Factors = Mapping[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Dropouts:
    """What is left out of a step at random, as shares from 0 to below 1; in training only."""

    values: float = 0.0
    """Values between the two matrices of LoRA."""
    ranks: float = 0.0
    """Ranks: of LoRA for each sample, of the others for the whole batch."""
    modules: float = 0.0
    """The whole change; what is not left out is no stronger for it."""


NO_DROPOUTS = Dropouts()


class LearningModule(nn.Module):
    """Adds to a frozen linear layer or convolution what its factors make of the same input.

    The factors are float32 parameters under the names that `adapters.factors` gives them; they compute in
    the input's number format. Of LoRA and LoKr in a linear layer, no change of the whole weight is made; of
    others it is made again in the backward pass rather than kept. Factors may have the sides of a kernel
    or be flat, as files have them.
    """

    def __init__(self, wrapped: nn.Module, adapter: Adapter, dropouts: Dropouts = NO_DROPOUTS) -> None:
        super().__init__()
        if getattr(wrapped, "groups", 1) != 1:
            raise ValueError("a convolution of several groups cannot be adapted")
        self.wrapped = wrapped
        self.kind: AdapterKind = adapter.kind
        self.alpha, self.rank, self.scale = adapter.alpha, adapter.rank, adapter.scale
        self.dropouts = dropouts
        self.is_active = True
        """Whether the factors take part."""
        device = next(wrapped.parameters()).device
        for name, tensor in adapter.factors.items():
            values = tensor.detach().to(device, torch.float32, copy=True)
            self.register_parameter(name, nn.Parameter(values))

    @property
    def weight(self) -> Tensor:
        """That of the layer, whose number format networks ask for; the layer may make it at each call."""
        return cast(Tensor, self.wrapped.weight)

    def factors(self) -> dict[str, nn.Parameter]:
        """Those that learn, as they are now: a policy may have put others in their place."""
        return dict(self.named_parameters(recurse=False))

    def forward(self, inputs: Tensor) -> Tensor:
        if self.is_active and self.kind == "lora" and not self._is_convolution:
            return self._run_with_thin(inputs, self.factors())
        outputs: Tensor = self.wrapped(inputs)
        if not self.is_active:
            return outputs
        if self.kind == "lora":
            return self._add_thin_convolution(outputs, inputs, self.factors())
        is_whole = self._is_convolution or self.kind == "loha"
        make = self._multiply_whole if is_whole else _multiply_kronecker
        # What lies between factors and outputs is as large as the weight or the inputs, and soon made again.
        return torch.add(outputs, _made_again(make, inputs, self._dropped_factors()), alpha=self.scale)

    @property
    def _is_convolution(self) -> bool:
        return isinstance(self.wrapped, nn.modules.conv._ConvNd)

    def _run_with_thin(self, inputs: Tensor, factors: Factors) -> Tensor:
        """The layer's own large product comes last: who runs this again for the gradients leaves it out."""
        shape, inputs = inputs.shape[:-1], inputs.flatten(0, -2)
        hidden = F.linear(inputs, factors["down"].flatten(1).to(inputs.dtype)).view(*shape, self.rank)
        hidden = self._dropped(hidden, (shape[0], *[1] * (len(shape) - 1), self.rank)) * self.scale
        hidden, up = hidden.flatten(0, -2), factors["up"].flatten(1).to(hidden.dtype)
        if type(self.wrapped) is nn.Linear:
            outputs = F.linear(hidden, up, self.wrapped.bias)
            # In place: no third tensor of the size of the outputs is in memory.
            outputs.addmm_(inputs.to(outputs.dtype), self.wrapped.weight.to(outputs.dtype).mT)
        else:
            change = F.linear(hidden, up)
            outputs = self.wrapped(inputs) + change
        return outputs.view(*shape, -1)

    def _add_thin_convolution(self, outputs: Tensor, inputs: Tensor, factors: Factors) -> Tensor:
        kernel = factors["down"].view(self.rank, *self.weight.shape[1:])
        hidden = _convolve(self.wrapped, inputs, kernel)
        hidden = self._dropped(hidden, (hidden.shape[0], self.rank, *[1] * (hidden.ndim - 2)))
        up = factors["up"].flatten(1).to(hidden.dtype)
        return torch.add(outputs, torch.einsum("or,br...->bo...", up, hidden), alpha=self.scale)

    def _multiply_whole(self, inputs: Tensor, factors: Factors) -> Tensor:
        delta = product(self.kind, factors)
        if self._is_convolution:
            return _convolve(self.wrapped, inputs, delta.view(self.weight.shape))
        return F.linear(inputs, delta.to(inputs.dtype))

    def _dropped(self, hidden: Tensor, ranks: tuple[int, ...]) -> Tensor:
        """`ranks`: the shape of a mask over samples and ranks."""
        if not self.training:
            return hidden
        hidden = F.dropout(hidden, self.dropouts.values)
        if self.dropouts.ranks:
            hidden = hidden * F.dropout(hidden.new_ones(ranks), self.dropouts.ranks)
        return hidden * self._kept(hidden) if self.dropouts.modules else hidden

    def _dropped_factors(self) -> Factors:
        factors: dict[str, Tensor] = dict(self.factors())
        if not self.training:
            return factors
        for name in _RANKED[self.kind]:
            if self.dropouts.ranks and name in factors:
                mask = F.dropout(factors[name].new_ones(len(factors[name]), 1), self.dropouts.ranks)
                factors[name] = factors[name] * mask
        if self.dropouts.modules:
            name = next(iter(factors))
            factors[name] = factors[name] * self._kept(factors[name])
        return factors

    def _kept(self, like: Tensor) -> Tensor:
        """0 or 1. Processes that train together need a gradient of every module, if only of zeros."""
        return like.new_empty(()).bernoulli_(1 - self.dropouts.modules)


_RANKED: Mapping[AdapterKind, tuple[str, ...]] = {
    "loha": ("hada_w1_b", "hada_w2_b"),
    "lokr": ("lokr_w1_b", "lokr_w2_b"),
}
"""Factors with a row for each rank; with masks of their own, so that the product is as strong on average."""


def _multiply_kronecker(inputs: Tensor, factors: Factors) -> Tensor:
    """What the Kronecker product of two matrices makes of rows of inputs, without the product itself."""
    first = _side(factors, "lokr_w1")
    num_first = math.prod(first[-1].shape[1:])
    values = inputs.unflatten(-1, (num_first, -1))
    for matrix in reversed(_side(factors, "lokr_w2")):
        values = F.linear(values, matrix.flatten(1).to(inputs.dtype))
    values = values.mT
    for matrix in reversed(first):
        values = F.linear(values, matrix.flatten(1).to(inputs.dtype))
    return values.mT.flatten(-2)


def _side(factors: Factors, name: str) -> list[Tensor]:
    return [factors[name]] if name in factors else [factors[f"{name}_a"], factors[f"{name}_b"]]


def _convolve(layer: nn.Module, inputs: Tensor, kernel: Tensor) -> Tensor:
    """As the convolution does, with another kernel and no bias."""
    convolution = cast(nn.modules.conv._ConvNd, layer)
    return convolution._conv_forward(inputs, kernel.to(inputs.dtype), None)


def _made_again(make: Callable[[Tensor, Factors], Tensor], inputs: Tensor, factors: Factors) -> Tensor:
    """`make`, of which the backward pass keeps nothing but what it is given."""
    if not torch.is_grad_enabled():
        return make(inputs, factors)
    made = checkpoint(make, inputs, factors, use_reentrant=False, preserve_rng_state=False)
    return cast(Tensor, made)
