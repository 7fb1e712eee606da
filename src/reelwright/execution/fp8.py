"""Frozen linear layers whose weights are held in 8 bits, scaled block by block."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx
from torch.nn import functional as F

from reelwright.execution.stacks import stacks_of

_BLOCK = 64
_LARGEST = 448.0
"""That float8_e4m3fn can hold."""
_SMALLEST_SCALE = 1e-8


class QuantizedLinear(nn.Module):
    """A linear layer that never learns: half the memory of bfloat16, rounded to three bits of mantissa.

    Gradients go through to its input. `quantized` is [out, in]; `scale` is [out, in/64, 1], or [out, 1, 1]
    where `in` is no multiple of 64.
    """

    def __init__(self, layer: nn.Linear, dtype: torch.dtype, device: torch.device) -> None:
        """Take over the layer; `dtype` is the number format that it computes in."""
        super().__init__()
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self.dtype = dtype
        quantized, scale = quantize(layer.weight.detach().to(device, dtype))
        self.quantized = nn.Parameter(quantized, requires_grad=False)
        self.register_buffer("scale", scale)
        bias = getattr(layer, "bias", None)
        self.bias = _frozen(bias.detach().to(device, dtype)) if isinstance(bias, Tensor) else None

    @property
    def weight(self) -> Tensor:
        """As it is computed with, [out, in]; made anew at each call."""
        return dequantize(self.quantized, self.get_buffer("scale"), self.dtype)

    def forward(self, inputs: Tensor) -> Tensor:
        return _Linear.apply(inputs, self.quantized, self.get_buffer("scale"), self.bias, self.dtype)


def quantize_blocks(
    denoiser: nn.Module, is_wanted: Callable[[str], bool], dtype: torch.dtype, device: torch.device
) -> int:
    """Exchange the linear layers inside the blocks of `denoiser.stacks`; return how many.

    `is_wanted` is asked by the layer's name in the denoiser; `dtype` is the number format to compute in. The
    exchanged layers lie on `device`, so that a large denoiser never has to, in whole. What is to be merged
    into the weights must be there already.
    """
    inside = {module for stack in stacks_of(denoiser) for module in stack.modules()}
    chosen = [
        name
        for name, module in denoiser.named_modules()
        if isinstance(module, nn.Linear) and module in inside and is_wanted(name)
    ]
    for name in chosen:
        layer = denoiser.get_submodule(name)
        assert isinstance(layer, nn.Linear)
        denoiser.set_submodule(name, QuantizedLinear(layer, dtype, device))
    return len(chosen)


def quantize(weight: Tensor) -> tuple[Tensor, Tensor]:
    """The weight [out, in] in float8_e4m3fn, and by what its blocks must be multiplied.

    Scales have the weight's number format; float32 beside float16, which has no numbers as small as these.
    """
    blocks = _in_blocks(weight.float())
    scale = (blocks.abs().amax(dim=-1, keepdim=True) / _LARGEST).clamp_min(_SMALLEST_SCALE)
    if weight.dtype == torch.bfloat16:
        # Weights are divided by what they will be multiplied with.
        scale = scale.bfloat16()
    rounded = (blocks / scale).clamp(-_LARGEST, _LARGEST).to(torch.float8_e4m3fn)
    return rounded.view(weight.shape), scale


def dequantize(quantized: Tensor, scale: Tensor, dtype: torch.dtype) -> Tensor:
    """The weight that `quantize` made this of, but for rounding."""
    blocks = quantized.to(scale.dtype).unflatten(-1, (scale.shape[1], -1))
    return (blocks * scale).flatten(1).to(dtype)


def _in_blocks(weight: Tensor) -> Tensor:
    """[out, blocks, size]: the whole row is one block where it cannot be divided."""
    return weight.unflatten(-1, (-1, weight.shape[-1] if weight.shape[-1] % _BLOCK else _BLOCK))


def _frozen(values: Tensor) -> nn.Parameter:
    return nn.Parameter(values, requires_grad=False)


class _Linear(torch.autograd.Function):
    """Keeps the 8 bits for the backward pass, not the weight that is made of them."""

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        inputs: Tensor,
        quantized: Tensor,
        scale: Tensor,
        bias: Tensor | None,
        dtype: torch.dtype,
    ) -> Tensor:
        ctx.save_for_backward(quantized, scale)
        return F.linear(inputs, dequantize(quantized, scale, dtype), bias)

    @staticmethod
    def backward(
        ctx: Any,  # noqa: ANN401 - torch types it so
        *gradients: Tensor,
    ) -> tuple[Tensor, None, None, None, None]:
        gradient = gradients[0]
        quantized, scale = ctx.saved_tensors
        return gradient @ dequantize(quantized, scale, gradient.dtype), None, None, None, None
