"""A LoRA of what sets a tuned model apart from its base: the best one of its rank, weight by weight."""

import math
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from reelwright.adapters.factors import Adapter
from reelwright.checkpoint.key_map import KeyMap
from reelwright.checkpoint.layout_fit import Fit, check_fit, check_not_quantized, fit_layout
from reelwright.checkpoint.safetensors_io import open_tensors
from reelwright.checkpoint.stored_tensor import StoredTensor
from reelwright.checkpoint.tensor_source import TensorSource
from reelwright.core.errors import CheckpointError
from reelwright.protocols.adapter_targets import AdapterTargets

_WEIGHT = ".weight"
_EXACT_SIDE = 512
"""Matrices with a side up to this are taken apart exactly, larger ones by random projections."""
_MORE_RANKS = 16
_NUM_ROUNDS = 6
"""Of random projections (arXiv 0909.4061): ranks beside those that are wanted, and passes."""


@dataclass(frozen=True, kw_only=True)
class Extracted:
    """Of one module."""

    module: str
    adapter: Adapter | None
    """None where the weights are the same."""
    change: float
    """Norm of the whole change of the weight."""
    kept: float
    """Norm of what the adapter holds of it."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A base model and one tuned from it, open, as the same network. Close it after use."""

    targets: AdapterTargets
    base: "_Opened"
    tuned: "_Opened"


@contextmanager
def open_pair(base: Path, tuned: Path, candidates: Sequence[AdapterTargets]) -> Generator[Pair]:
    """Both models, as that of the candidates which fits the base best; they may be in different layouts.

    Raises CheckpointError if they are not the same network, or none that is known.
    """
    with ExitStack() as opened:
        sources = [opened.enter_context(open_tensors(path)) for path in (base, tuned)]
        best = max(
            (_Opened.fitted(sources[0], targets) for targets in candidates),
            key=lambda each: each.fit.num_matched / each.fit.num_needed,
        )
        other = _Opened.fitted(sources[1], best.targets)
        for each in (best, other):
            each.check()
        yield Pair(targets=best.targets, base=best, tuned=other)


def extract(pair: Pair, rank: int, device: torch.device) -> Iterator[Extracted]:
    """The LoRA of this rank that is nearest to the change of each module; one is in memory at a time.

    Factors are float32 on the CPU, alpha is the rank.
    """
    for module, shape in pair.targets.shapes.items():
        delta = _difference(pair.tuned.read(module), pair.base.read(module), device)
        change = float(torch.linalg.vector_norm(delta))
        if not math.isfinite(change):
            raise CheckpointError(f"{module}: the models differ by NaN or infinity. One of them is damaged.")
        adapter = _nearest(delta.flatten(1), rank, shape) if change else None
        kept = adapter.norm() if adapter is not None else 0.0
        yield Extracted(module=module, adapter=adapter, change=change, kept=kept)


def other_changes(pair: Pair) -> list[str]:
    """Names of tensors that differ but that no LoRA holds, such as biases; of files in one layout only."""
    base, tuned = pair.base, pair.tuned
    if base.fit.layout is not tuned.fit.layout:
        return []
    held = {place.file_name for place in base.fit.located.values()}
    both = [name for name in base.source.names() if name in tuned.source.shapes() and name not in held]
    return [name for name in both if _differs(base.source.read(name), tuned.source.read(name))]


@dataclass(frozen=True, kw_only=True)
class _Opened:
    """The weights of a file as modules of a network."""

    source: TensorSource
    targets: AdapterTargets
    fit: Fit

    @classmethod
    def fitted(cls, source: TensorSource, targets: AdapterTargets) -> Self:
        expected: Mapping[str, tuple[int, ...]] = {
            module + _WEIGHT: shape for module, shape in targets.shapes.items()
        }
        layouts: list[KeyMap] = [layout.key_map for layout in targets.layouts]
        fits = [fit_layout(source, layout, expected) for layout in layouts]
        return cls(source=source, targets=targets, fit=max(fits, key=lambda fit: fit.num_matched))

    def check(self) -> None:
        """Raise CheckpointError unless all weights of the modules are there, as fractional numbers."""
        check_fit(self.source, replace(self.fit, unexpected=()))
        check_not_quantized(self.source, (place.file_name for place in self.fit.located.values()))

    def read(self, module: str) -> Tensor:
        """A weight, in the file's number format, or that of its scale."""
        place = self.fit.located[module + _WEIGHT]
        stored = StoredTensor(self.source, place, self.targets.shapes[module])
        return stored.read(stored.full_dtype if stored.has_scale else stored.dtype, "cpu")


def _differs(first: Tensor, second: Tensor) -> bool:
    return first.shape != second.shape or bool(_difference(first, second, torch.device("cpu")).any())


def _difference(first: Tensor, second: Tensor, device: torch.device) -> Tensor:
    """In float32, of values in the coarser of their number formats: rounding alone is no difference."""
    coarser = first.dtype if first.itemsize <= second.itemsize else second.dtype
    first, second = (each.to(device).to(coarser).float() for each in (first, second))
    return first - second


def _nearest(delta: Tensor, rank: int, shape: tuple[int, ...]) -> Adapter:
    """By the largest singular values of a matrix; their roots go to either factor. `shape`: the weight's."""
    rank = min(rank, *delta.shape)
    if min(delta.shape) <= max(_EXACT_SIDE, 2 * (rank + _MORE_RANKS)):
        left, values, right = torch.linalg.svd(delta, full_matrices=False)
    else:
        with torch.random.fork_rng(devices=[delta.device] if delta.is_cuda else []):
            torch.manual_seed(0)
            left, values, right = torch.svd_lowrank(delta, q=rank + _MORE_RANKS, niter=_NUM_ROUNDS)
        right = right.mT
    root = values[:rank].sqrt()
    factors = {
        "down": (root[:, None] * right[:rank]).cpu().view(rank, *shape[1:]),
        "up": (left[:, :rank] * root).cpu().view(shape[0], rank, *[1] * len(shape[2:])),
    }
    return Adapter(kind="lora", factors=factors, alpha=float(rank))
