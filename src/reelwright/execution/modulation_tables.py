"""What a denoiser's modulations answer in a run, computed before its steps; their weights wait elsewhere.

They read nothing but the timestep and a few conditions (`Denoiser.signal`), and hold a seventh to a quarter
of all weights. A layer is asked as often as the run has distinct signals, with the batch of the call that
will need the answer: so its answers are the same to the last bit.
"""

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reelwright.execution.policy import Call
from reelwright.execution.stacks import modulations_of
from reelwright.execution.weight_homes import Keep

_LARGEST_TABLE = 0.25
"""Of the weights; the answers of a longer run are computed in turns."""


class ModulationTables:
    """A policy that takes the weights of modulations away, and answers in their place from tables."""

    shortcut = ""

    def __init__(self, network: nn.Module, keep: Keep) -> None:
        """`keep` is where the weights wait. Adapters on modulations are part of them, and must be there."""
        self._network: Any = network
        names = {module: name for name, module in network.named_modules()}
        self._layers = [_Layer(layer, keep) for layer in modulations_of(network)]
        for layer in self._layers:
            network.set_submodule(names[layer.layer], layer.answer)
        self._inputs: list[Tensor] = []
        self._place_of: dict[tuple[int, str], int] = {}
        self._known = range(0)

    @property
    def num_bytes(self) -> int:
        """What the tables hold on the device now."""
        return sum(answer.untyped_storage().nbytes() for layer in self._layers for answer in layer.table)

    @torch.no_grad()
    def start(self, calls: Sequence[Call]) -> None:
        """Note what the layers will be asked; calls that ask the same share an answer."""
        self._forget()
        place_of_signal: dict[tuple[int, bytes], int] = {}
        for call in calls:
            signal_BD: Tensor = self._network.signal(call.timestep_B, call.conditions)
            content = signal_BD.cpu().view(torch.uint8).numpy().tobytes()
            place = place_of_signal.setdefault((len(signal_BD), content), len(place_of_signal))
            if place == len(self._inputs):
                self._inputs.append(F.silu(signal_BD))
            self._place_of[call.step, call.branch] = place

    def enter(self, call: Call) -> None:
        place = self._place_of[call.step, call.branch]
        if place not in self._known:
            self._compute_from(place)
        for layer in self._layers:
            layer.answer.rows_BD = layer.table[place - self._known.start]

    @torch.no_grad()
    def _compute_from(self, place: int) -> None:
        self._let_go()
        largest = _LARGEST_TABLE * sum(layer.weight_bytes for layer in self._layers)
        row_bytes = sum(layer.row_bytes for layer in self._layers)
        end, needed = place, 0
        while end < len(self._inputs) and (needed := needed + len(self._inputs[end]) * row_bytes) <= largest:
            end += 1
        self._known = range(place, max(end, place + 1))
        inputs = self._inputs[place : self._known.stop]
        for layer in self._layers:
            layer.compute(inputs)

    def _forget(self) -> None:
        self._let_go()
        self._inputs.clear()
        self._place_of.clear()

    def _let_go(self) -> None:
        self._known = range(0)
        for layer in self._layers:
            layer.table.clear()
            layer.answer.rows_BD = None


class _Answer(nn.Module):
    """Stands in a layer's place. All are alike, so that where blocks are compiled, one serves the others.

    The layer is a part of it: strengths of adapters are still set in the whole network.
    """

    rows_BD: Tensor | None = None

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, _: Tensor) -> Tensor:
        assert self.rows_BD is not None, "a call is entered before the network runs"
        return self.rows_BD


class _Layer:
    """One modulation, with the adapters that are on it."""

    def __init__(self, layer: nn.Module, keep: Keep) -> None:
        weight = layer.get_parameter("weight")
        self.row_bytes = weight.shape[0] * weight.itemsize
        self.weight_bytes = 0
        self.table: list[Tensor] = []
        self.answer = _Answer(layer)
        self.layer = layer
        self._homes: list[tuple[nn.Module, str, Callable[[], Tensor]]] = []
        for module in layer.modules():
            own = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
            for name, tensor in own:
                self.weight_bytes += tensor.nbytes
                bring = keep(tensor)
                is_parameter = isinstance(tensor, nn.Parameter)
                self._homes.append((module, name, partial(_frozen, bring) if is_parameter else bring))
                setattr(module, name, None)

    def compute(self, inputs: Sequence[Tensor]) -> None:
        """Fill the table, one entry for each input."""
        with self._at_work() as forward:
            self.table = [_without_copies(forward(each)) for each in inputs]

    @contextmanager
    def _at_work(self) -> Generator[Callable[[Tensor], Tensor]]:
        """The layer with its weights on the device."""
        for module, name, bring in self._homes:
            setattr(module, name, bring())
        try:
            yield self.layer
        finally:
            for module, name, _ in self._homes:
                setattr(module, name, None)


def _frozen(bring: Callable[[], Tensor]) -> nn.Parameter:
    return nn.Parameter(bring(), requires_grad=False)


def _without_copies(rows_BD: Tensor) -> Tensor:
    """Rows that are equal, as those of both prompts are where only text tells them apart, held once."""
    first = rows_BD[:1]
    if len(rows_BD) == 1 or not torch.equal(first.expand_as(rows_BD), rows_BD):
        return rows_BD
    return first.clone().expand_as(rows_BD)
