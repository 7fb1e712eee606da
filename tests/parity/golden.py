"""Golden vectors of the specification (specs: CogVideoX 11) and the deterministic weights they belong to."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor


def fill_weights(shapes: Mapping[str, torch.Size]) -> dict[str, Tensor]:
    """Weights by formula, for state-dict names in the diffusers layout."""
    weights: dict[str, Tensor] = {}
    for k, name in enumerate(sorted(shapes)):
        shape = shapes[name]
        count = math.prod(shape)
        values = torch.sin(0.7 * torch.arange(count, dtype=torch.float64) + 0.31 * k)
        if len(shape) >= 2:
            values = values * math.sqrt(2.0 * shape[0] / count)
        else:
            values = 0.1 * values + (1.0 if name.endswith(".weight") else 0.0)
        weights[name] = values.view(shape).float()
    return weights


def wave(shape: tuple[int, ...], frequency: float, *, cosine: bool = False) -> Tensor:
    angles = frequency * torch.arange(math.prod(shape), dtype=torch.float64)
    return (angles.cos() if cosine else angles.sin()).view(shape).float()


def fingerprint(output: Tensor) -> tuple[float, float, list[float]]:
    """Mean, population standard deviation, and five elements, as the specification lists them."""
    flat = output.flatten()
    n = flat.numel()
    return (
        flat.mean().item(),
        flat.std(correction=0).item(),
        [flat[i].item() for i in (0, 1, n // 3, n // 2, n - 1)],
    )
