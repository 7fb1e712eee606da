"""LoRAs taken into a network: added to its weights, or run beside them."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Self, cast

import torch
from torch import Tensor, nn

from reelwright.adapters.adapted_module import AdaptedModule, set_multipliers
from reelwright.adapters.factors import Adapter
from reelwright.adapters.formats import AdapterFile, FoundModule, load_adapter
from reelwright.adapters.module_table import Target
from reelwright.checkpoint.safetensors_io import open_tensors
from reelwright.checkpoint.tensor_source import TensorSource
from reelwright.core.errors import CheckpointError

_Piece = tuple[int, tuple[FoundModule, Target]]
"""What a file, by its number, has for one of our modules."""


@dataclass(frozen=True, kw_only=True)
class ChosenAdapter:
    """A file, which of its modules are used, and how strongly."""

    file: AdapterFile
    modules: tuple[FoundModule, ...]
    multiplier: float


@dataclass(kw_only=True)
class Change:
    """How much a file changes the weights it is for: sums of squares of the change and of the weights."""

    changed: float = 0.0
    weights: float = 0.0
    modules: set[str] = field(default_factory=set[str])

    @property
    def ratio(self) -> float:
        """The norm of the change over that of the weights."""
        return math.sqrt(self.changed / self.weights) if self.weights else math.inf

    def note(self, module: str, change: float, weight: float, file: Path) -> None:
        """Add one module's norms. Raises CheckpointError if its change is not finite."""
        if not math.isfinite(change):
            raise CheckpointError(
                f"{file}: the change of {module} holds NaN or infinity. The file is damaged or its training"
                " diverged; use another."
            )
        self.changed += change**2
        if module not in self.modules:
            self.weights += weight**2
            self.modules.add(module)


def merge(network: nn.Module, chosen: Sequence[ChosenAdapter]) -> list[Change]:
    """W += multiplier * scale * delta, added up in float32 for each module and rounded once.

    Returns what each file changed. Raises CheckpointError if a change is not finite; the network is then half
    merged and of no use.
    """
    with Merging(chosen) as merging:
        merging.finish(network)
        return merging.changes


class Merging:
    """LoRAs on their way into weights, each weight when its turn comes. A context manager."""

    def __init__(self, chosen: Sequence[ChosenAdapter]) -> None:
        self.changes = [Change() for _ in chosen]
        """Of each file, so far."""
        self._chosen = chosen
        self._places = _places(chosen)
        self._opened = ExitStack()
        self._sources: Mapping[int, TensorSource] = {}

    def __enter__(self) -> Self:
        self._sources = _open_all(self._chosen, self._opened)
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def on(self, module: str) -> Callable[[Tensor], None] | None:
        """What adds to the weight of a module, in place and once; None if it stays or was added to before."""
        pieces = self._places.pop(module, None)
        return None if pieces is None else partial(self._add, module, pieces)

    def finish(self, network: nn.Module) -> None:
        """Add to all weights that were not added to before."""
        for module in list(self._places):
            add = self.on(module)
            if add is not None:
                add(network.get_submodule(module).get_parameter("weight"))

    def _add(self, module: str, pieces: Sequence[_Piece], weight: Tensor) -> None:
        merged = weight.detach().float()
        norm = _norm(merged)
        for index, place in pieces:
            adapter = load_adapter(self._sources[index], *place)
            delta = adapter.delta(weight.device).view(weight.shape) * self._chosen[index].multiplier
            self.changes[index].note(module, _norm(delta), norm, self._chosen[index].file.path)
            merged = merged + delta
        with torch.no_grad():
            weight.copy_(merged)


def attach(network: nn.Module, chosen: Sequence[ChosenAdapter]) -> list[Change]:
    """Put each module that is changed into an AdaptedModule; the weights stay as they are."""
    changes = [Change() for _ in chosen]
    for name, pieces in _by_module(chosen):
        layer = network.get_submodule(name)
        weight = cast(Tensor, layer.weight)
        norm = _norm(weight.detach().float())
        adapted = AdaptedModule(layer, len(chosen))
        for index, adapter in pieces:
            size = adapter.norm(weight.device) * abs(chosen[index].multiplier)
            changes[index].note(name, size, norm, chosen[index].file.path)
            adapted.add(adapter, index)
        parent, _, leaf = name.rpartition(".")
        setattr(network.get_submodule(parent), leaf, adapted)
    set_multipliers(network, [each.multiplier for each in chosen])
    return changes


def _by_module(chosen: Sequence[ChosenAdapter]) -> Iterator[tuple[str, list[tuple[int, Adapter]]]]:
    """Each of our modules with its adapters, by number of file: one module's are in memory at a time."""
    with ExitStack() as opened:
        sources = _open_all(chosen, opened)
        for name, pieces in _places(chosen).items():
            yield name, [(index, load_adapter(sources[index], *place)) for index, place in pieces]


def _places(chosen: Sequence[ChosenAdapter]) -> dict[str, list[_Piece]]:
    places: dict[str, list[_Piece]] = {}
    for index, each in enumerate(chosen):
        for module in each.modules:
            for target in module.targets:
                places.setdefault(target.module, []).append((index, (module, target)))
    return places


def _open_all(chosen: Sequence[ChosenAdapter], opened: ExitStack) -> Mapping[int, TensorSource]:
    return {index: opened.enter_context(open_tensors(each.file.path)) for index, each in enumerate(chosen)}


def _norm(tensor: Tensor) -> float:
    return float(torch.linalg.vector_norm(tensor))
