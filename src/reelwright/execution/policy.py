"""A denoiser with the ways it runs around it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

Branch = Literal["positive", "negative", "both"]
"""Which prompt a forward pass sees; both are one batch, the negative one first."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """One forward pass of a run, which crosses all steps of a clip or section once."""

    step: int
    """From 0."""
    num_steps: int
    branch: Branch
    timestep_B: Tensor
    conditions: Any
    """The family's own dataclass."""


class Policy(Protocol):
    """A way to run a denoiser that must know where in a run it is. It has put itself around the network."""

    @property
    def shortcut(self) -> str:
        """What it leaves out or rounds, in words for the record; empty if results are what they were."""
        ...

    def start(self, calls: Sequence[Call]) -> None:
        """Begin a run that will make these calls; what an earlier run left is forgotten."""
        ...

    def enter(self, call: Call) -> None:
        """The next forward pass is this one."""
        ...


@dataclass(frozen=True)
class Rounded:
    """What was done to a network for good, and needs not know where in a run it is; only the record does."""

    shortcut: str

    def start(self, calls: Sequence[Call]) -> None:
        pass

    def enter(self, call: Call) -> None:
        pass


class PreparedDenoiser:
    """A network, and the policies that follow its runs; sessions call it in place of the network."""

    def __init__(self, network: nn.Module, policies: Sequence[Policy] = (), *, dtype: torch.dtype) -> None:
        """`dtype` is the number format of latents and conditions."""
        self.network = network
        self.policies = tuple(policies)
        self.dtype = dtype

    @property
    def shortcuts(self) -> tuple[str, ...]:
        """What was done otherwise than exactly, in words."""
        return tuple(policy.shortcut for policy in self.policies if policy.shortcut)

    def start(self, calls: Sequence[Call]) -> None:
        """Begin a run; `calls` in the order in which they come."""
        for policy in self.policies:
            policy.start(calls)

    def __call__(self, latents_BCTHW: Tensor, call: Call) -> Tensor:
        """The prediction, in float32."""
        for policy in self.policies:
            policy.enter(call)
        return self.network(latents_BCTHW.to(self.dtype), call.timestep_B, call.conditions).float()
