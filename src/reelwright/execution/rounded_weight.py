"""A weight in few bits, and the weight that it stands for."""

from dataclasses import dataclass

import torch
from torch import Tensor

from reelwright.checkpoint.scales import dequantize
from reelwright.protocols.policy_configs import WeightFormat


@dataclass(frozen=True, kw_only=True)
class RoundedWeight:
    """Of a linear layer, [out, in]."""

    format: WeightFormat
    values: Tensor
    """[out, in]; of 4 bits [out, in/2] in uint8, with the first of two numbers in the lower half."""
    scale: Tensor | None = None
    """[out, blocks, 1], with which blocks of rows are multiplied; of [out, blocks, 2] the last is added."""

    @property
    def shape(self) -> tuple[int, int]:
        rows, columns = self.values.shape
        return rows, columns * 2 if self.values.dtype == torch.uint8 else columns


def restore(values: Tensor, scale: Tensor | None, dtype: torch.dtype) -> Tensor:
    """The weight [out, in] in `dtype`, but for what rounding lost."""
    if scale is None or scale.shape[-1] == 1:
        return dequantize(values, scale, dtype)
    blocks = unpack(values).to(scale.dtype).unflatten(-1, (scale.shape[1], -1))
    return (blocks * scale[..., :1] + scale[..., 1:]).flatten(1).to(dtype)


def pack(values: Tensor) -> Tensor:
    """Two numbers from 0 to 15 in each byte, [..., n] -> [..., n/2]."""
    return values[..., ::2] | (values[..., 1::2] << 4)


def unpack(packed: Tensor) -> Tensor:
    """What `pack` made this of."""
    return torch.stack([packed & 15, packed >> 4], dim=-1).flatten(-2)
