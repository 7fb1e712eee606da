"""The blocks of a denoiser, called from outside of it."""

import weakref
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from reelwright.execution.policy import Call
from reelwright.execution.stacks import stacks_of
from reelwright.nn.packing import Packing

Run = Callable[..., Tensor]


def replace_trunk(network: nn.Module, run: Run) -> Run:
    """Have `run` called in place of the network's trunk; return what calls the trunk itself.

    Nothing here holds the network, so that it is gone when its owner lets it go.
    """
    trunk: Run = getattr(type(network), "trunk")  # noqa: B009 - of whatever class
    known = weakref.ref(network)

    def call_trunk(*inputs: Any) -> Tensor:  # noqa: ANN401 - whatever the family's trunk takes
        if any(isinstance(each, Packing) for each in inputs):
            raise ValueError("clips packed into one sequence change each at its own pace: no step cache")
        return trunk(known(), *inputs)

    network.trunk = run  # pyright: ignore[reportArgumentType] - a function in place of a method
    return call_trunk


def known_call(call: Call | None) -> Call:
    """The call that was entered. Raises ValueError if none was."""
    if call is None:
        raise ValueError("a step cache must know which step it is: call the prepared denoiser")
    return call


class FirstBlock:
    """The first block of a network, run before the others and not a second time with them."""

    def __init__(self, network: nn.Module) -> None:
        self._stack = weakref.ref(stacks_of(network)[0])

    def run(self, *inputs: Any) -> tuple[Tensor, Tensor]:  # noqa: ANN401 - whatever the family's trunk takes
        """Its results, video and text, from what the trunk is given."""
        return self._blocks[0](*inputs)

    def run_others(self, trunk: Run, results: tuple[Tensor, Tensor], *inputs: Any) -> Tensor:  # noqa: ANN401
        """Run the trunk with the results that the first block had."""
        blocks = self._blocks
        first, blocks[0] = blocks[0], _Known(results)
        try:
            return trunk(*inputs)
        finally:
            blocks[0] = first

    @property
    def _blocks(self) -> nn.ModuleList:
        blocks = self._stack()
        assert blocks is not None, "the network is being run"
        return blocks


class _Known(nn.Module):
    """In the place of a block whose results are there already."""

    def __init__(self, results: tuple[Tensor, Tensor]) -> None:
        super().__init__()
        self._results = results

    def forward(self, *_: object) -> tuple[Tensor, Tensor]:
        return self._results
