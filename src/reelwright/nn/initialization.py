"""First values of networks that are trained from nothing."""

import hashlib
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

N = TypeVar("N", bound=nn.Module)

_STD = 0.02
"""Of linear layers in models of a width of thousands."""


def empty_network(build: Callable[[], N]) -> N:
    """A network in CPU memory whose weights are not there yet, built without drawing those of torch."""
    with torch.device("meta"):
        network = build()
    return network.to_empty(device="cpu")


def draw_weights(
    network: nn.Module,
    seed: int,
    *,
    is_zero: Callable[[str], bool],
    is_outer: Callable[[str], bool],
) -> None:
    """Give every parameter of a network in CPU memory its first values, in place.

    Weights that bring patches in or out (`is_outer`) are Xavier-uniform over [out, everything else]; other
    matrices are normal; biases are 0 and the weights of norms 1. What `is_zero` names is 0, so that a block
    behind such a gate starts as the identity. Each tensor follows from the seed and its own name alone:
    whatever else a network has, and whichever process asks, it is the same.
    """
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            _fill(parameter, generator_of(seed, name), name, is_zero=is_zero(name), is_outer=is_outer(name))


def generator_of(seed: int, name: str) -> torch.Generator:
    """Where the random numbers of one tensor start."""
    digest = hashlib.sha256(f"weights {seed} {name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def linear_std(fan_in: int) -> float:
    """0.02 for layers as wide as in released models; narrower ones keep the variance of what they read.

    A layer of 2,500 features has both at once. With 0.02 in a model of width 192, a layer would shrink
    everything to a quarter, and what it knows of the time to less than a tenth.
    """
    return max(_STD, fan_in**-0.5)


def _fill(parameter: Tensor, generator: torch.Generator, name: str, *, is_zero: bool, is_outer: bool) -> None:
    if is_zero or name.endswith("bias"):
        parameter.zero_()
    elif parameter.ndim == 1:
        parameter.fill_(1.0)
    elif is_outer:
        nn.init.xavier_uniform_(parameter.flatten(1), generator=generator)
    else:
        parameter.normal_(0.0, linear_std(parameter[0].numel()), generator=generator)
