"""Weights in 8 bits with scales beside them, as files of several programs have them.

A scale holds for the whole weight, for a row of it, or for a block of a row: what is in the file is
multiplied with it to give the weight.
"""

import re
from collections.abc import Container

import torch
from torch import Tensor

from reelwright.core.errors import CheckpointError

SCALE_WEIGHT = "scale_weight"
"""What the scale of `<module>.weight` is called behind the module's name."""
_SCALES = (SCALE_WEIGHT, "weight_scale")
_BESIDE_WEIGHTS = re.compile(r"(.*\.)?(scaled_fp8|scale_weight|weight_scale|scale_input|input_scale)")


def is_beside_weights(file_name: str) -> bool:
    """Whether a tensor of a file is no weight, but belongs to one, or says that weights have scales."""
    return _BESIDE_WEIGHTS.fullmatch(file_name) is not None


def find_scale(names: Container[str], file_name: str) -> str | None:
    """What the scale of a file's tensor is called there, if it has one."""
    module, _, leaf = file_name.rpartition(".")
    if leaf != "weight":
        return None
    return next((name for kind in _SCALES if (name := f"{module}.{kind}") in names), None)


def in_blocks(scale: Tensor, weight: tuple[int, ...], name: str) -> Tensor:
    """A file's scale as [rows, blocks, 1], or [1, 1, 1] for all of the weight.

    Raises CheckpointError, which begins with `name`, if it does not fit a weight of that shape.
    """
    if scale.numel() == 1:
        return scale.reshape(1, 1, 1)
    blocks = scale.shape[1] if scale.ndim > 1 else 1
    if len(weight) != 2 or scale.numel() != weight[0] * blocks or weight[1] % blocks:
        raise CheckpointError(
            f"{name}: a scale of {list(scale.shape)} does not fit a weight of {list(weight)}."
            " Use another file of this model, in bfloat16 or in fp8 with scales for blocks of rows."
        )
    return scale.reshape(weight[0], blocks, 1)


def dequantize(quantized: Tensor, scale: Tensor | None, dtype: torch.dtype) -> Tensor:
    """The weight, multiplied out in the scale's number format; `scale` as `in_blocks` gives it."""
    if scale is None:
        return quantized.to(dtype)
    values = quantized.to(scale.dtype)
    if scale.numel() == 1:
        return (values * scale.reshape(())).to(dtype)
    return (values.unflatten(-1, (scale.shape[1], -1)) * scale).flatten(1).to(dtype)
