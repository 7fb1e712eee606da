"""Attention of all tokens to all tokens; which kernel computes it may be set from outside."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Kernel = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(query, key, value), each [B, N, L, K], to what the queries see: [B, N, L, K]. No mask, no dropout."""


class FullAttention(nn.Module):
    """Where a model attends. Its `kernel` is torch's own choice until another is set."""

    def __init__(self, head_size: int) -> None:
        """`head_size`: channels of a head, by which kernels are chosen."""
        super().__init__()
        self.head_size = head_size
        self.kernel: Kernel = F.scaled_dot_product_attention

    def forward(self, query_BNLK: Tensor, key_BNLK: Tensor, value_BNLK: Tensor) -> Tensor:
        if value_BNLK.device.type == "cpu":
            # Attention on processors loses a twentieth on rows that lie apart.
            value_BNLK = value_BNLK.contiguous()
        return self.kernel(query_BNLK, key_BNLK, value_BNLK)


def computed_in(tensor: Tensor) -> torch.dtype:
    """The number format of matrix products with a tensor."""
    kind = tensor.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else tensor.dtype
