"""Weights rounded to 8 or 4 bits by the rules of torchao.

Only its rules are taken: its own tensors could not be swapped, pinned or compiled as plain ones are, and
those of 4 bits need a GPU or another package.
"""

from functools import cache
from typing import Any

import torch
from torch import Tensor

from reelwright.core.optional_library import import_optional, torchao_silenced
from reelwright.execution.rounded_weight import RoundedWeight, pack

_BLOCK = 64
"""Weights that share a scale and an offset in 4 bits."""
_SMALLEST_SCALE = 1e-8


def round_int8(weight: Tensor) -> RoundedWeight:
    """-127 to 127, with one scale for each row."""
    values, scale, _ = _round(weight.float(), weight.shape[1], is_symmetric=True, least=-127, most=127)
    return RoundedWeight(format="int8", values=values.to(torch.int8), scale=scale[..., None])


def round_int4(weight: Tensor) -> RoundedWeight:
    """0 to 15, with a scale and an offset for each 64 of a row; for the whole row where it cannot be cut so.

    Where a row has an odd number of weights, one of 8 bits: there are no halves of bytes.
    """
    columns = weight.shape[1]
    if columns % 2:
        return round_int8(weight)
    size = columns if columns % _BLOCK else _BLOCK
    values, scale, zero = _round(weight.float(), size, is_symmetric=False, least=0, most=15)
    # Scales take a share of the memory here; in float16 they could vanish.
    dtype = torch.bfloat16 if weight.dtype == torch.bfloat16 else torch.float32
    pairs = torch.stack([scale, -zero.to(scale.dtype) * scale], dim=-1).to(dtype)
    return RoundedWeight(format="int4", values=pack(values.to(torch.uint8)), scale=pairs)


def check_integers() -> None:
    """Raise ConfigError if torchao is not there."""
    _rules()


def _round(
    weight: Tensor, size: int, *, is_symmetric: bool, least: int, most: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Whole numbers [out, in], and scales and zero points [out, blocks] of `size` numbers of a row each."""
    rules = _rules()
    kind = rules.MappingType.SYMMETRIC if is_symmetric else rules.MappingType.ASYMMETRIC
    bounds: dict[str, Any] = {"quant_min": least, "quant_max": most}
    scale, zero = rules.choose_qparams_affine(
        weight, kind, (1, size), torch.int32, **bounds, eps=_SMALLEST_SCALE, scale_dtype=torch.float32
    )
    values = rules.quantize_affine(weight, (1, size), scale, zero, torch.int32, **bounds)
    shape = (weight.shape[0], -1)
    return values, scale.view(shape), zero.view(shape)


@cache
def _rules() -> Any:  # noqa: ANN401 - the library is optional
    with torchao_silenced():
        return import_optional(
            "torchao.quantization.quant_primitives", extra="quant", purpose="rounds weights to int8 and int4"
        )
