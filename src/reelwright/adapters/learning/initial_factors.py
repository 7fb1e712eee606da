"""Factors before anything is learned: random ones beside one of zeros, so that they change nothing yet."""

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from reelwright.adapters.factors import Adapter, AdapterKind

_BROAD, _NARROW = 1.0, 0.1
"""Standard deviations of LoHa's factors (arXiv 2108.06098, with the numbers of LyCORIS)."""


@dataclass(frozen=True, kw_only=True)
class FactorSizes:
    """How large the adapter of one module is."""

    rank: int
    alpha: float
    factor: int = -1
    """Of LoKr: the side of the smaller matrix; -1 takes the one nearest to a square root."""


def initial_adapter(
    kind: AdapterKind, shape: tuple[int, ...], sizes: FactorSizes, *, seed: int, name: str
) -> Adapter:
    """An adapter, float32, of a weight of this shape. Its numbers follow from `seed` and `name` alone."""
    factors = {factor: torch.zeros(size) for factor, size in factor_shapes(kind, shape, sizes).items()}
    generator = torch.Generator().manual_seed(_seed_of(seed, name))
    for factor, tensor in factors.items():
        if factor not in zero_factors(kind, factors):
            _fill(kind, factor, tensor, generator)
    return Adapter(kind=kind, factors=factors, alpha=sizes.alpha)


def factor_shapes(
    kind: AdapterKind, shape: tuple[int, ...], sizes: FactorSizes
) -> dict[str, tuple[int, ...]]:
    """Of an adapter of a weight of this shape."""
    return _SHAPES[kind](shape, sizes)


def zero_factors(kind: AdapterKind, factors: Mapping[str, Tensor]) -> frozenset[str]:
    """Those that are zero at the start: LoRA's up, and what stands for it in the other kinds."""
    candidates = {"lora": ("up",), "loha": ("hada_w2_a",), "lokr": ("lokr_w2", "lokr_w2_b")}[kind]
    return frozenset(candidates) & factors.keys()


def divided(size: int, factor: int) -> tuple[int, int]:
    """Two whole numbers that multiply to `size`, the smaller one first.

    `factor` is one of them if it divides; else the smaller one is as large as possible, at most `factor`
    unless that is -1.
    """
    if factor > 0 and size % factor == 0:
        return min(factor, size // factor), max(factor, size // factor)
    limit = min(math.isqrt(size), factor) if factor > 0 else math.isqrt(size)
    smaller = next(side for side in range(limit, 0, -1) if size % side == 0)
    return smaller, size // smaller


def _fill(kind: AdapterKind, factor: str, tensor: Tensor, generator: torch.Generator) -> None:
    if kind == "loha":
        deviation = _NARROW if factor == "hada_w1_a" else _BROAD
        nn.init.normal_(tensor, std=deviation, generator=generator)
    else:
        nn.init.kaiming_uniform_(tensor, a=math.sqrt(5), generator=generator)


def _seed_of(seed: int, name: str) -> int:
    digest = hashlib.sha256(f"{seed} {name}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def _lora_shapes(shape: tuple[int, ...], sizes: FactorSizes) -> dict[str, tuple[int, ...]]:
    ones = [1] * len(shape[2:])
    return {"down": (sizes.rank, *shape[1:]), "up": (shape[0], sizes.rank, *ones)}


def _loha_shapes(shape: tuple[int, ...], sizes: FactorSizes) -> dict[str, tuple[int, ...]]:
    columns = math.prod(shape[1:])
    return {
        f"hada_w{index}_{side}": size
        for index in (1, 2)
        for side, size in (("a", (shape[0], sizes.rank)), ("b", (sizes.rank, columns)))
    }


def _lokr_shapes(shape: tuple[int, ...], sizes: FactorSizes) -> dict[str, tuple[int, ...]]:
    """A small whole matrix, and a large one of low rank unless that would not make it smaller."""
    rows, large_rows = divided(shape[0], sizes.factor)
    columns, large_columns = divided(shape[1], sizes.factor)
    small = {"lokr_w1": (rows, columns)}
    if sizes.rank >= max(large_rows, large_columns) / 2:
        return {**small, "lokr_w2": (large_rows, large_columns, *shape[2:])}
    wide = large_columns * math.prod(shape[2:])
    return {**small, "lokr_w2_a": (large_rows, sizes.rank), "lokr_w2_b": (sizes.rank, wide)}


_SHAPES: Mapping[AdapterKind, Callable[[tuple[int, ...], FactorSizes], dict[str, tuple[int, ...]]]] = {
    "lora": _lora_shapes,
    "loha": _loha_shapes,
    "lokr": _lokr_shapes,
}
