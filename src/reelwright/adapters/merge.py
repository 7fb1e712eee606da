"""LoRAs taken into a network: added to its weights, or run beside them."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from reelwright.adapters.adapted_module import AdaptedModule, set_multipliers
from reelwright.adapters.factors import Adapter
from reelwright.adapters.formats import AdapterFile, FoundModule, load_adapter
from reelwright.adapters.module_table import Target
from reelwright.checkpoint.safetensors_io import open_tensors
from reelwright.checkpoint.tensor_source import TensorSource
from reelwright.core.errors import CheckpointError


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
    changes = [Change() for _ in chosen]
    for name, pieces in _by_module(chosen):
        weight = network.get_submodule(name).get_parameter("weight")
        merged = weight.detach().float()
        norm = _norm(merged)
        for index, adapter in pieces:
            delta = adapter.delta(weight.device).view(weight.shape) * chosen[index].multiplier
            changes[index].note(name, _norm(delta), norm, chosen[index].file.path)
            merged = merged + delta
        with torch.no_grad():
            weight.copy_(merged)
    return changes


def attach(network: nn.Module, chosen: Sequence[ChosenAdapter]) -> list[Change]:
    """Put each module that is changed into an AdaptedModule; the weights stay as they are."""
    changes = [Change() for _ in chosen]
    for name, pieces in _by_module(chosen):
        layer = network.get_submodule(name)
        weight = layer.get_parameter("weight")
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
    places: dict[str, list[tuple[int, tuple[FoundModule, Target]]]] = {}
    for index, each in enumerate(chosen):
        for module in each.modules:
            for target in module.targets:
                places.setdefault(target.module, []).append((index, (module, target)))
    with ExitStack() as opened:
        sources: Mapping[int, TensorSource] = {
            index: opened.enter_context(open_tensors(each.file.path)) for index, each in enumerate(chosen)
        }
        for name, found in places.items():
            yield name, [(index, load_adapter(sources[index], *place)) for index, place in found]


def _norm(tensor: Tensor) -> float:
    return float(torch.linalg.vector_norm(tensor))
