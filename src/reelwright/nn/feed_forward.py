"""The part of a block in which tokens do not see each other."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

TOKENS_AT_A_TIME = 1024
"""Taken a few at a time, the wide tensor inside stays small."""

gelu_tanh = partial(F.gelu, approximate="tanh")


class FeedForward(nn.Module):
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
        parts = tokens_BLD.split(TOKENS_AT_A_TIME, dim=-2)
        return torch.cat([self.contract(self.activation(self.expand(part))) for part in parts], dim=-2)
