"""Frozen linear layers whose weights are held in 8 bits or fewer, and how weights are rounded to fp8."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx
from torch.nn import functional as F

from reelwright.execution.rounded_weight import RoundedWeight, restore
from reelwright.execution.stacks import stacks_of

BLOCK = 64
"""Weights of a row that share a scale."""
_LARGEST = 448.0
"""That float8_e4m3fn can hold."""
_SMALLEST_SCALE = 1e-8


class QuantizedLinear(nn.Module):
    """A linear layer that never learns, with its weight in few bits.

    Gradients go through to its input. `quantized` is [out, in], or [out, in/2] with two numbers to a byte;
    `scale` is what blocks of rows are multiplied with, or None.
    """

    scale: Tensor | None
    product: Callable[[Tensor, Tensor, Tensor | None, Tensor | None], Tensor] | None = None
    """What computes it of inputs, `quantized`, `scale` and bias where nothing learns; set from outside."""

    def __init__(self, rounded: RoundedWeight, bias: Tensor | None, dtype: torch.dtype) -> None:
        """`dtype` is the number format that it computes in."""
        super().__init__()
        self.format, self.dtype = rounded.format, dtype
        self.out_features, self.in_features = rounded.shape
        self.quantized = _frozen(rounded.values)
        self.register_buffer("scale", rounded.scale)
        self.bias = None if bias is None else _frozen(bias)

    @property
    def weight(self) -> Tensor:
        """As it is computed with, [out, in]; made anew at each call."""
        return restore(self.quantized, self.scale, self.dtype)

    def forward(self, inputs: Tensor) -> Tensor:
        if self.product is not None and not inputs.requires_grad:
            return self.product(inputs, self.quantized, self.scale, self.bias)
        return _Linear.apply(inputs, self.quantized, self.scale, self.bias, self.dtype)


def quantize_blocks(
    denoiser: nn.Module, is_wanted: Callable[[str], bool], dtype: torch.dtype, device: torch.device
) -> int:
    """Exchange the linear layers inside the blocks of `denoiser.stacks`; return how many.

    `is_wanted` is asked by the layer's name in the denoiser; `dtype` is the number format to compute in. The
    exchanged layers lie on `device`, so that a large denoiser never has to, in whole. What is to be merged
    into the weights must be there already.
    """
    chosen = layers_of_blocks(denoiser, is_wanted)
    for name in chosen:
        layer = denoiser.get_submodule(name)
        assert isinstance(layer, nn.Linear)
        denoiser.set_submodule(name, quantized_layer(layer, dtype, device))
    return len(chosen)


def layers_of_blocks(denoiser: nn.Module, is_wanted: Callable[[str], bool]) -> list[str]:
    """Names of the linear layers inside the blocks that are wanted by name."""
    inside = {module for stack in stacks_of(denoiser) for module in stack.modules()}
    return [
        name
        for name, module in denoiser.named_modules()
        if isinstance(module, nn.Linear) and module in inside and is_wanted(name)
    ]


def quantized_layer(layer: nn.Linear, dtype: torch.dtype, device: torch.device) -> QuantizedLinear:
    """What computes nearly the same in `dtype` on `device`, scaled block by block."""
    rounded = round_scaled(layer.weight.detach().to(device, dtype))
    bias = getattr(layer, "bias", None)
    return QuantizedLinear(rounded, None if bias is None else bias.detach().to(device, dtype), dtype)


def round_plain(weight: Tensor) -> RoundedWeight:
    """The weight in float8_e4m3fn as it is."""
    values = weight.float().clamp(-_LARGEST, _LARGEST).to(torch.float8_e4m3fn)
    return RoundedWeight(format="fp8", values=values)


def round_scaled(weight: Tensor) -> RoundedWeight:
    """The weight as `quantize` rounds it."""
    values, scale = quantize(weight)
    return RoundedWeight(format="fp8_scaled", values=values, scale=scale)


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


def _in_blocks(weight: Tensor) -> Tensor:
    """[out, blocks, size]: the whole row is one block where it cannot be divided."""
    return weight.unflatten(-1, (-1, weight.shape[-1] if weight.shape[-1] % BLOCK else BLOCK))


def _frozen(values: Tensor) -> nn.Parameter:
    return nn.Parameter(values, requires_grad=False)


class _Linear(torch.autograd.Function):
    """Keeps the 8 bits for the backward pass, not the weight that is made of them."""

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        inputs: Tensor,
        quantized: Tensor,
        scale: Tensor | None,
        bias: Tensor | None,
        dtype: torch.dtype,
    ) -> Tensor:
        ctx.save_for_backward(quantized, *(() if scale is None else (scale,)))
        return F.linear(inputs, restore(quantized, scale, dtype), bias)

    @staticmethod
    def backward(
        ctx: Any,  # noqa: ANN401 - torch types it so
        *gradients: Tensor,
    ) -> tuple[Tensor, None, None, None, None]:
        gradient = gradients[0]
        quantized, *scales = ctx.saved_tensors
        scale = scales[0] if scales else None
        return gradient @ restore(quantized, scale, gradient.dtype), None, None, None, None
