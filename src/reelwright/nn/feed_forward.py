"""The part of a block in which tokens do not see each other."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_TOKENS_AT_A_TIME = 1024

gelu_tanh = partial(F.gelu, approximate="tanh")


def in_pieces(transform: Callable[..., Tensor], *tokens_BLD: Tensor) -> Tensor:
    """What `transform` makes of tokens, a few at a time, so that wide tensors inside it stay small.

    Tokens lie in the last dimension but one of each tensor.
    """
    parts = (tensor.split(_TOKENS_AT_A_TIME, dim=-2) for tensor in tokens_BLD)
    return torch.cat([transform(*part) for part in zip(*parts, strict=True)], dim=-2)


class InPieces(nn.Module):
    """A module that does something to a few tokens at a time; how, may be set from outside."""

    def __init__(self) -> None:
        super().__init__()
        self.in_pieces: Callable[..., Tensor] = in_pieces


class FeedForward(InPieces):
    """Two linear layers with an activation between, over tokens in the last dimension but one."""

    def __init__(
        self,
        input_width: int,
        inner_width: int,
        output_width: int,
        activation: Callable[[Tensor], Tensor] = gelu_tanh,
    ) -> None:
        super().__init__()
        self.expand = nn.Linear(input_width, inner_width)
        self.contract = nn.Linear(inner_width, output_width)
        self.activation = activation

    def forward(self, tokens_BLD: Tensor) -> Tensor:
        return self.in_pieces(self._transform, tokens_BLD)

    def _transform(self, tokens_BLD: Tensor) -> Tensor:
        return self.contract(self.activation(self.expand(tokens_BLD)))
