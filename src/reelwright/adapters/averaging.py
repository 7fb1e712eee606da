"""One file of adapters out of those saved along a training: averaged afterwards.

The power-function average is that of arXiv 2312.02696 (section 3.1, appendix C).
"""

import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import torch
from torch import Tensor

from reelwright.adapters.tensor_names import module_of_alpha
from reelwright.checkpoint.safetensors_io import open_tensors
from reelwright.checkpoint.tensor_source import TensorSource
from reelwright.core.errors import CheckpointError

WIDEST = 12**-0.5
"""The width of a flat average; with a power function, as a share of the training."""


def ramp_shares(count: int, beta: float, beta_end: float) -> list[float]:
    """What each of `count` files counts, in order; they sum to 1.

    From the second file on, each new one takes 1 - beta of the average; beta goes from `beta` to `beta_end`.
    """
    last = max(count - 2, 1)
    return _shares([0.0, *(beta + (beta_end - beta) * index / last for index in range(count - 1))])


def power_shares(count: int, sigma_rel: float) -> list[float]:
    """As `ramp_shares`; `sigma_rel` is the width as a share of the training so far, above 0, up to WIDEST."""
    exponent = _exponent(sigma_rel)
    return _shares([(1 - 1 / number) ** (exponent + 1) for number in range(1, count + 1)])


def average(paths: Sequence[Path], shares: Sequence[float]) -> dict[str, Tensor]:
    """The weighted sum of each tensor of the files, in float32 and then in the last file's number format.

    Factors are averaged, not their products: files of one training lie close to each other. Raises
    CheckpointError unless all files hold the same tensors and alphas.
    """
    with ExitStack() as opened:
        sources = [opened.enter_context(open_tensors(path)) for path in paths]
        _check_alike(sources)
        return {name: _average_one(sources, shares, name) for name in sources[-1].names()}


def averaged_metadata(path: Path, shares: Mapping[str, float]) -> dict[str, str]:
    """Of the last file, without hashes of its content, and what was averaged."""
    with open_tensors(path) as source:
        kept = {
            key: text
            for key, text in source.metadata.items()
            if key != "format" and not key.startswith("sshs_")
        }
    told = ", ".join(f"{name} {share:.4g}" for name, share in shares.items())
    return {**kept, "averaged_loras": told}


def _shares(betas: Sequence[float]) -> list[float]:
    """`betas`: how much of the average each file leaves; the first one leaves nothing."""
    return [(1 - beta) * math.prod(betas[index + 1 :]) for index, beta in enumerate(betas)]


def _exponent(sigma_rel: float) -> float:
    """The largest root of (g + 1) / ((g + 2)^2 (g + 3)) = sigma_rel^2, by halving: it falls from g = 0 on."""
    low, high = 0.0, 1.0
    while _variance(high) > sigma_rel**2:
        high *= 2
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if _variance(middle) > sigma_rel**2 else (low, middle)
    return low


def _variance(exponent: float) -> float:
    return (exponent + 1) / ((exponent + 2) ** 2 * (exponent + 3))


def _check_alike(sources: Sequence[TensorSource]) -> None:
    first = sources[0]
    for source in sources[1:]:
        differing = dict(source.shapes().items() ^ first.shapes().items())
        if differing:
            raise CheckpointError(
                f"{source.origin}: {min(differing)} is not as in {first.origin}. Only files of one training,"
                " in one layout, can be averaged."
            )
        for name in filter(module_of_alpha, source.names()):
            if not torch.equal(source.read(name).float(), first.read(name).float()):
                raise CheckpointError(
                    f"{source.origin}: {name} is another than in {first.origin}. Only files of one training"
                    " can be averaged."
                )


def _average_one(sources: Sequence[TensorSource], shares: Sequence[float], name: str) -> Tensor:
    last = sources[-1].read(name)
    if module_of_alpha(name) or not last.is_floating_point():
        return last
    total = torch.zeros(last.shape, dtype=torch.float64)
    for source, share in zip(sources, shares, strict=True):
        total += source.read(name).double() * share
    return total.to(last.dtype)
