"""Products in fp8: what is rounded, how far off that may be, and which layers are left as they are."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from reelwright.core.errors import ConfigError
from reelwright.execution import fp8_products
from reelwright.execution.fp8 import QuantizedLinear, round_plain, round_scaled
from reelwright.execution.fp8_products import multiply_in_fp8
from reelwright.execution.rounded_weight import RoundedWeight

CPU = torch.device("cpu")
STEPS = np.arange(8)
E4M3 = np.concatenate([STEPS / 512, *((8 + STEPS) / 8 * 2.0**exponent for exponent in range(-6, 9))])[:-1]
"""All numbers from 0 that float8_e4m3fn has; the last code is no number."""


def rounded_inputs(inputs: Tensor) -> NDArray[np.float64]:
    """The nearest of `E4M3` times a 448th of a row's largest number."""
    rows = inputs.double().numpy()
    scale = np.float32(np.abs(rows).max(axis=1, keepdims=True)) / np.float32(448)
    shares = (np.float32(rows) / scale).astype(np.float64)
    nearest = E4M3[np.abs(np.abs(shares)[..., None] - E4M3).argmin(-1)]
    return np.sign(shares) * nearest * scale


def layer_of(rounded: RoundedWeight) -> QuantizedLinear:
    torch.manual_seed(1)
    return QuantizedLinear(rounded, torch.randn(rounded.shape[0]), torch.float32)


def plain_layer(columns: int = 64) -> QuantizedLinear:
    torch.manual_seed(0)
    return layer_of(round_plain(torch.randn(48, columns)))


def with_scales(shape: tuple[int, ...]) -> QuantizedLinear:
    values = plain_layer().quantized.detach()
    scale = torch.rand(shape, generator=torch.Generator().manual_seed(3)) + 0.5
    return layer_of(RoundedWeight(format="fp8_scaled", values=values, scale=scale))


LAYERS = {
    "no-scale": plain_layer,
    "one": lambda: with_scales((1, 1, 1)),
    "rows": lambda: with_scales((48, 1, 1)),
}


@pytest.mark.parametrize("kind", LAYERS)
def test_only_inputs_are_rounded_and_by_their_rule(kind: str):
    layer = LAYERS[kind]()
    inputs = (
        torch.randn(7, 64, generator=torch.Generator().manual_seed(2)) * torch.logspace(-3, 3, 7)[:, None]
    )
    plain, weight = layer(inputs).double().numpy(), layer.weight.double().numpy()
    assert [each.shortcut for each in multiply_in_fp8(layer, "on", device=CPU, dtype=torch.float32)]
    made = layer(inputs).double().numpy()
    rounded = rounded_inputs(inputs)
    assert layer.bias is not None
    expected = rounded @ weight.T + layer.bias.double().numpy()
    size = np.abs(rounded) @ np.abs(weight).T + 1
    assert (np.abs(made - expected) <= 1e-5 * size).all()
    # Each input is off by what rounding took from it, and each weight by nothing.
    bound = np.abs(rounded - inputs.double().numpy()) @ np.abs(weight).T
    assert (np.abs(made - plain) <= bound + 1e-5 * size).all()
    assert not np.array_equal(made, plain)


def test_dimensions_and_the_number_format_are_those_of_the_inputs():
    layer = plain_layer()
    multiply_in_fp8(layer, "on", device=CPU, dtype=torch.bfloat16)
    made = layer(torch.randn(2, 3, 64).bfloat16())
    assert (made.shape, made.dtype) == ((2, 3, 48), torch.bfloat16)


def test_layers_with_scales_in_rows_or_odd_sizes_multiply_as_before():
    scaled = layer_of(round_scaled(torch.randn(48, 128)))
    layers = nn.ModuleList([plain_layer(), plain_layer(columns=56), scaled])
    assert len(multiply_in_fp8(layers, "on", device=CPU, dtype=torch.float32)) == 1
    assert [isinstance(each, QuantizedLinear) and each.product is not None for each in layers] == [
        True, False, False,
    ]  # fmt: skip


def test_what_learns_through_a_layer_has_the_gradients_of_the_exact_one():
    layer = plain_layer()
    exact = layer(torch.ones(2, 64))
    multiply_in_fp8(layer, "on", device=CPU, dtype=torch.float32)
    inputs = torch.ones(2, 64, requires_grad=True)
    made = layer(inputs)
    made.sum().backward()
    assert torch.equal(made, exact)
    assert torch.allclose(inputs.grad, layer.weight.sum(0).expand(2, -1), atol=1e-5)


@pytest.mark.parametrize("wanted", ["auto", "off"])
def test_a_processor_multiplies_so_only_where_it_is_told_to(wanted: fp8_products.Fp8Products):
    layer = plain_layer()
    assert multiply_in_fp8(layer, wanted, device=CPU, dtype=torch.float32) == []
    assert layer.product is None


def test_on_is_refused_where_it_can_do_nothing(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(ConfigError, match=r"--execution\.weights fp8"):
        multiply_in_fp8(nn.Linear(16, 16), "on", device=CPU, dtype=torch.float32)

    def fail(*arguments: object, **options: object) -> Tensor:
        raise RuntimeError("no such units")

    monkeypatch.setattr(torch, "_scaled_mm", fail)
    with pytest.raises(ConfigError, match=r"does not run on cpu in float32 \(no such units\)"):
        multiply_in_fp8(plain_layer(), "on", device=CPU, dtype=torch.float32)
    monkeypatch.setattr(fp8_products, "has_units", lambda device: True)
    assert multiply_in_fp8(plain_layer(), "auto", device=CPU, dtype=torch.float32) == []
