"""The matrices of LoRA, LoHa and LoKr, and the change of a weight that they make."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from reelwright.checkpoint.key_map import take_parts

AdapterKind = Literal["lora", "loha", "lokr"]
Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]
Tensors = Mapping[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Extent:
    """The matrix that factors multiply to."""

    rows: int
    columns: int
    rank: int
    """0 where nothing is of low rank; such factors have scale 1 whatever alpha says."""


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """The change of one module's weight: `scale` times the product of `factors`, or some rows of it."""

    kind: AdapterKind
    factors: Tensors
    """By the names that files use for this kind, in the file's number format."""
    alpha: float
    parts: tuple[int, ...] = (0,)
    """Which of `of` equal chunks of the product's rows are this module's, in this order."""
    of: int = 1

    @property
    def rank(self) -> int:
        return measure(self.kind, {name: tuple(tensor.shape) for name, tensor in self.factors.items()}).rank

    @property
    def scale(self) -> float:
        return scale_of(self.alpha, self.rank)

    def delta(self, device: torch.device | str = "cpu") -> Tensor:
        """The change at multiplier 1, float32 [rows, columns]; a kernel's columns are flattened."""
        factors = {name: tensor.to(device).float() for name, tensor in self.factors.items()}
        return take_parts(product(self.kind, factors) * self.scale, self.parts, self.of)

    def norm(self, device: torch.device | str = "cpu") -> float:
        """Frobenius norm of the change at multiplier 1."""
        if self.kind != "lora" or self.of != 1:
            return float(torch.linalg.vector_norm(self.delta(device)))
        # |B A|^2 is the sum of B^T B times A A^T: the whole product is never made.
        down, up = (self.factors[name].to(device).flatten(1).float() for name in ("down", "up"))
        squares = float(((up.mT @ up) * (down @ down.mT)).sum())
        return abs(self.scale) * math.sqrt(0.0 if squares < 0 else squares)


def product(kind: AdapterKind, factors: Tensors) -> Tensor:
    """What the factors multiply to, [rows, columns] in their number format."""
    return _PRODUCTS[kind](factors)


def scale_of(alpha: float, rank: int) -> float:
    """What the product is multiplied by: alpha over rank."""
    return alpha / rank if rank else 1.0


def measure(kind: AdapterKind, shapes: Shapes) -> Extent:
    """What the factors multiply to. Raises ValueError if one is missing or they do not fit each other."""
    try:
        return _MEASURES[kind](shapes)
    except KeyError as error:
        raise ValueError(f"{error.args[0]} is missing") from error


def scaled(adapter: Adapter, by: float) -> Adapter:
    """The adapter with its change multiplied, written into one factor; in float32 where that is not exact."""
    if by == 1.0:
        return adapter
    name = next(name for name in _LINEAR_FACTORS if name in adapter.factors)
    return replace(adapter, factors={**adapter.factors, name: _times(adapter.factors[name], by)})


def take_rows(adapter: Adapter, parts: tuple[int, ...], of: int) -> Adapter:
    """The adapter of a module that holds only some rows of a fused one.

    The rows of LoRA and LoHa are those of their outer factors; a Kronecker product has no such factor and
    keeps a note of its rows.
    """
    if of == 1:
        return adapter
    outer = _OUTER_FACTORS[adapter.kind]
    if not outer or any(name.startswith("hada_t") for name in adapter.factors):
        return replace(adapter, parts=parts, of=of)
    cut = {name: take_parts(adapter.factors[name], parts, of) for name in outer}
    return replace(adapter, factors={**adapter.factors, **cut})


_OUTER_FACTORS: Mapping[AdapterKind, tuple[str, ...]] = {
    "lora": ("up",),
    "loha": ("hada_w1_a", "hada_w2_a"),
    "lokr": (),
}


_LINEAR_FACTORS = ("up", "hada_w1_a", "lokr_w1", "lokr_w1_a")
"""Of each kind, one that the product is proportional to."""


def _times(factor: Tensor, by: float) -> Tensor:
    exact = factor.float() * by
    rounded = exact.to(factor.dtype)
    return rounded if torch.equal(rounded.float(), exact) else exact


def _measure_lora(shapes: Shapes) -> Extent:
    down, up = shapes["down"], shapes["up"]
    if math.prod(up[1:]) != down[0]:
        raise ValueError(f"up {list(up)} and down {list(down)} have no rank in common")
    return Extent(rows=up[0], columns=math.prod(down[1:]), rank=down[0])


def _measure_loha(shapes: Shapes) -> Extent:
    first, second = (_measure_pair(shapes, f"hada_w{i}", f"hada_t{i}") for i in (1, 2))
    if (first.rows, first.columns) != (second.rows, second.columns):
        raise ValueError(
            f"hada_w1 is {first.rows}x{first.columns}, hada_w2 is {second.rows}x{second.columns}"
        )
    return first


def _measure_lokr(shapes: Shapes) -> Extent:
    first, second = _measure_side(shapes, "lokr_w1", ""), _measure_side(shapes, "lokr_w2", "lokr_t2")
    return Extent(
        rows=first.rows * second.rows, columns=first.columns * second.columns, rank=first.rank or second.rank
    )


def _measure_side(shapes: Shapes, name: str, core: str) -> Extent:
    """One side of a Kronecker product: a whole matrix, or a product of two."""
    if name not in shapes:
        return _measure_pair(shapes, name, core)
    return Extent(rows=shapes[name][0], columns=math.prod(shapes[name][1:]), rank=0)


def _measure_pair(shapes: Shapes, name: str, core: str) -> Extent:
    """Two factors; with a `core`, they multiply its first two sides and the rest is a kernel."""
    a, b = shapes[f"{name}_a"], shapes[f"{name}_b"]
    if core in shapes:
        rank, inner, *kernel = shapes[core]
        if (a[0], b[0]) != (rank, inner):
            raise ValueError(f"{name}_a {list(a)}, {name}_b {list(b)} do not fit {core} {list(shapes[core])}")
        return Extent(rows=a[1], columns=b[1] * math.prod(kernel), rank=b[0])
    if a[1] != b[0]:
        raise ValueError(f"{name}_a {list(a)} and {name}_b {list(b)} have no rank in common")
    return Extent(rows=a[0], columns=math.prod(b[1:]), rank=b[0])


def _multiply_lora(factors: Tensors) -> Tensor:
    return factors["up"].flatten(1) @ factors["down"].flatten(1)


def _multiply_loha(factors: Tensors) -> Tensor:
    return _multiply_pair(factors, "hada_w1", "hada_t1") * _multiply_pair(factors, "hada_w2", "hada_t2")


def _multiply_lokr(factors: Tensors) -> Tensor:
    first = factors["lokr_w1"] if "lokr_w1" in factors else _multiply_pair(factors, "lokr_w1", "")
    second = factors["lokr_w2"] if "lokr_w2" in factors else _multiply_pair(factors, "lokr_w2", "lokr_t2")
    # A kernel's sides come last, so that flattened they stay together.
    return torch.kron(first.flatten(1).contiguous(), second.flatten(1).contiguous())


def _multiply_pair(factors: Tensors, name: str, core: str) -> Tensor:
    a, b = factors[f"{name}_a"], factors[f"{name}_b"]
    if core in factors:
        return torch.einsum("ij...,ip,jr->pr...", factors[core], a, b).flatten(1)
    return a @ b.flatten(1)


_MEASURES: Mapping[AdapterKind, Callable[[Shapes], Extent]] = {
    "lora": _measure_lora,
    "loha": _measure_loha,
    "lokr": _measure_lokr,
}
_PRODUCTS: Mapping[AdapterKind, Callable[[Tensors], Tensor]] = {
    "lora": _multiply_lora,
    "loha": _multiply_loha,
    "lokr": _multiply_lokr,
}
