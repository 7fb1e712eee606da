"""Attention of all tokens to all tokens; which kernel computes it may be set from outside."""

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional as F

Kernel = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(query, key, value), each [B, N, L, K], to what the queries see: [B, N, L, K]. No mask, no dropout."""


class FullAttention(nn.Module):
    """Where a model attends. Its `kernel` is torch's own choice until another is set."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel: Kernel = F.scaled_dot_product_attention

    def forward(self, query_BNLK: Tensor, key_BNLK: Tensor, value_BNLK: Tensor) -> Tensor:
        return self.kernel(query_BNLK, key_BNLK, value_BNLK)
