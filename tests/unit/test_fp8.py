"""Weights held in 8 bits: what is exchanged, how exact it is, and what learns through it."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reelwright import families
from reelwright.checkpoint.scales import dequantize
from reelwright.execution.fp8 import QuantizedLinear, quantize, quantize_blocks, quantized_layer
from reelwright.families.framepack.config import TransformerConfig
from reelwright.families.framepack.transformer import FramePackTransformer

CPU = torch.device("cpu")


def _layer(inputs: int = 128, outputs: int = 96, dtype: torch.dtype = torch.bfloat16) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(inputs, outputs).to(dtype)


def test_the_released_transformer_has_440_layers_of_nine_billion_weights_in_8_bits() -> None:
    with torch.device("meta"):
        network = FramePackTransformer(TransformerConfig()).bfloat16()
    training = families.load("framepack").training
    assert training is not None
    assert quantize_blocks(network, training.quantized, torch.bfloat16, torch.device("meta")) == 440
    held = sum(p.numel() for p in network.parameters() if p.dtype == torch.float8_e4m3fn)
    assert held / 1e9 == pytest.approx(9.06, abs=0.005)
    outside = [network.patch_embedding, network.text_refiner, network.output_projection]
    assert not any(isinstance(module, QuantizedLinear) for part in outside for module in part.modules())


def test_a_block_of_64_inputs_has_the_scale_of_its_largest_weight() -> None:
    weight = _layer().weight.detach()
    quantized, scale = quantize(weight)
    assert (quantized.dtype, scale.dtype) == (torch.float8_e4m3fn, torch.bfloat16)
    largest = weight.float().reshape(96, 2, 64).abs().amax(-1, keepdim=True)
    assert torch.equal(scale, (largest / 448).bfloat16())


def test_a_row_that_cannot_be_divided_has_one_scale() -> None:
    quantized, scale = quantize(_layer(inputs=100).weight.detach())
    assert (quantized.shape, scale.shape) == ((96, 100), (96, 1, 1))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=str)
def test_weights_are_off_by_a_sixteenth_at_most(dtype: torch.dtype) -> None:
    # Three bits of mantissa round by 1/16 of a value at most; those near zero by 2^-10 of the block's scale.
    weight = _layer(dtype=dtype).weight.detach()
    quantized, scale = quantize(weight)
    error = (dequantize(quantized, scale, torch.float32) - weight.float()).abs().view(96, 2, 64)
    allowed = weight.float().abs().view(96, 2, 64) / 16 + scale.float() / 2**9
    # A scale rounded down to bfloat16 may clip the largest weight by 1/256 of it, which is less.
    assert (error <= allowed * 1.004).all()
    assert error.norm() / weight.float().norm() < 0.03


def test_a_block_of_zeros_stays_zero() -> None:
    quantized, scale = quantize(torch.zeros(4, 64, dtype=torch.float16))
    assert torch.equal(dequantize(quantized, scale, torch.float16), torch.zeros(4, 64, dtype=torch.float16))


def test_outputs_are_within_three_percent_of_those_of_bfloat16() -> None:
    layer, inputs = _layer(), torch.randn(8, 128).bfloat16()
    outputs = quantized_layer(layer, torch.bfloat16, CPU)(inputs)
    assert outputs.dtype == torch.bfloat16
    error = (outputs - layer(inputs)).float().norm() / layer(inputs).float().norm()
    assert error < 0.03


def test_gradients_go_through_to_the_input_and_to_nothing_else() -> None:
    layer = quantized_layer(_layer(dtype=torch.float32), torch.float32, CPU)
    inputs = torch.randn(3, 5, 128, requires_grad=True)
    expected_inputs = inputs.detach().clone().requires_grad_()
    direction = torch.randn(3, 5, 96)
    (layer(inputs) * direction).sum().backward()
    (F.linear(expected_inputs, layer.weight, layer.bias) * direction).sum().backward()
    assert torch.allclose(inputs.grad, expected_inputs.grad, atol=1e-6)
    assert all(parameter.grad is None for parameter in layer.parameters())


def test_the_backward_pass_keeps_8_bits_of_each_weight() -> None:
    layer = quantized_layer(_layer(), torch.bfloat16, CPU)
    kept: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        layer(torch.randn(2, 128, dtype=torch.bfloat16, requires_grad=True))
    assert [tensor.dtype for tensor in kept if tensor.numel() == 128 * 96] == [torch.float8_e4m3fn]


def test_computing_in_mixed_precision_is_possible() -> None:
    layer = quantized_layer(_layer(dtype=torch.float32), torch.float32, CPU)
    inputs = torch.randn(2, 128, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        outputs = layer(inputs)
    outputs.float().sum().backward()
    assert outputs.dtype == torch.bfloat16
    assert inputs.grad is not None
