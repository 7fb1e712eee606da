"""Products in 8 bits: inputs are rounded, row by row, to meet weights that are in fp8 already."""

from typing import Literal

import torch
from torch import Tensor, nn

from reelwright.core.errors import ConfigError
from reelwright.execution.devices import choose_device, choose_dtype
from reelwright.execution.fp8 import QuantizedLinear
from reelwright.execution.policy import Policy, Rounded
from reelwright.protocols.configs import ExecutionConfig
from reelwright.protocols.policy_configs import Fp8Products

_LARGEST = 448.0
_SMALLEST_SCALE = 1e-12
_MULTIPLE = 16
"""Both sizes of a weight must be one of it; other layers multiply as before."""
_FIRST_CAPABILITY = (8, 9)
"""Of GPUs with units for such products: Ada and Hopper."""
_NO_LAYERS = "the model has no weights in fp8 with one scale for a row at most: add --execution.weights fp8"


def check_products(config: ExecutionConfig, released: Literal["float32", "bfloat16", "float16"]) -> None:
    """Raise ConfigError where such products are demanded and the device cannot, before anything is loaded.

    `released` is the number format of the model.
    """
    if config.fp8_matmul != "on":
        return
    device = choose_device(config.device)
    reason = why_not(device, choose_dtype(config.dtype, device, released))
    _refuse(_NO_LAYERS if config.weights in ("int8", "int4") else reason)


def multiply_in_fp8(
    network: nn.Module, wanted: Fp8Products, *, device: torch.device, dtype: torch.dtype
) -> list[Policy]:
    """Have layers whose weights are in fp8 without scales, or with one for a row at most, multiply so.

    A scale for each 64 of a row is no factor of the product, and its layers stay as they are. auto is for
    GPUs that have units for it. Raises ConfigError where `on` cannot be.
    """
    if wanted == "off" or (wanted == "auto" and not has_units(device)):
        return []
    layers = [each for each in network.modules() if isinstance(each, QuantizedLinear) and _is_fit(each)]
    reason = why_not(device, dtype) if layers else _NO_LAYERS
    if wanted == "on":
        _refuse(reason)
    if reason:
        return []
    for layer in layers:
        layer.product = multiply
    return [Rounded("fp8 products")]


def has_units(device: torch.device) -> bool:
    """Whether products in fp8 are faster there than others."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= _FIRST_CAPABILITY


def why_not(device: torch.device, dtype: torch.dtype) -> str:
    """What a small product to numbers of `dtype` fails with on the device; empty if it does not."""
    ones = torch.ones(_MULTIPLE, 2 * _MULTIPLE, device=device, dtype=dtype)
    try:
        made = multiply(ones, ones.to(torch.float8_e4m3fn), None, None)
    except (RuntimeError, ValueError, NotImplementedError) as failure:
        first = str(failure).splitlines()[0]
        return f"does not run on {device.type} in {str(dtype).removeprefix('torch.')} ({first})"
    return "" if bool((made == 2 * _MULTIPLE).all()) else f"gives wrong numbers on {device.type}"


def multiply(inputs: Tensor, weight: Tensor, scale: Tensor | None, bias: Tensor | None) -> Tensor:
    """[..., in] with a weight [out, in] in fp8 and a scale [1 or out, 1, 1]: [..., out].

    In the inputs' number format.
    """
    rows = inputs.reshape(-1, inputs.shape[-1]).float()
    of_rows = (rows.abs().amax(dim=1, keepdim=True) / _LARGEST).clamp_min(_SMALLEST_SCALE)
    rounded = (rows / of_rows).clamp(-_LARGEST, _LARGEST).to(torch.float8_e4m3fn)
    of_weight = rows.new_ones(1) if scale is None else scale.float().reshape(-1)
    product = torch._scaled_mm(  # pyright: ignore[reportPrivateUsage, reportPrivateImportUsage]
        rounded,
        weight.t(),
        scale_a=of_rows,
        scale_b=of_weight.expand(weight.shape[0]).reshape(1, -1).contiguous(),
        out_dtype=inputs.dtype,
    )
    if bias is not None:
        product = product + bias.to(product.dtype)
    return product.view(*inputs.shape[:-1], -1)


def _refuse(reason: str) -> None:
    if reason:
        raise ConfigError(f"execution.fp8_matmul: {reason}; or leave it out.")


def _is_fit(layer: QuantizedLinear) -> bool:
    is_fp8 = layer.quantized.dtype == torch.float8_e4m3fn
    has_row_scales = layer.scale is None or tuple(layer.scale.shape[1:]) == (1, 1)
    sizes = (layer.in_features, layer.out_features)
    return is_fp8 and has_row_scales and all(size % _MULTIPLE == 0 for size in sizes)
