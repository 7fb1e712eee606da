"""How fast a machine multiplies, for plans: measured here, or for a known GPU from published runs."""

import json
import time
from dataclasses import dataclass

import torch

from reelwright.core.errors import ConfigError, suggestion
from reelwright.core.paths import cache_folder, write_text_atomic

GB = 10**9
_SIDE, _REPEATS = 1024, 3
_REACHED_ON_PROCESSORS = 0.6
"""Of matrix products alone; convolutions, norms and what lies between take the rest."""


@dataclass(frozen=True, kw_only=True)
class KnownGPU:
    """What a card has and what video models reach on it, which is about half of what its makers state."""

    memory: int
    flops: float
    """For each second, in bfloat16 or float16."""


KNOWN_GPUS: dict[str, KnownGPU] = {
    "H200": KnownGPU(memory=141 * GB, flops=360e12),
    "H100": KnownGPU(memory=80 * GB, flops=360e12),
    "A100": KnownGPU(memory=80 * GB, flops=160e12),
    "L40S": KnownGPU(memory=48 * GB, flops=140e12),
    "5090": KnownGPU(memory=32 * GB, flops=110e12),
    "4090": KnownGPU(memory=24 * GB, flops=80e12),
    "3090": KnownGPU(memory=24 * GB, flops=35e12),
    "4080": KnownGPU(memory=16 * GB, flops=48e12),
    "4070": KnownGPU(memory=12 * GB, flops=29e12),
    "3060": KnownGPU(memory=12 * GB, flops=12e12),
    "4060": KnownGPU(memory=8 * GB, flops=15e12),
}
"""H100 and A100: from published times of the same models (90 s and 180 s); others: half of stated rates."""


def known_gpu(name: str) -> KnownGPU:
    """The card that a name such as `RTX 4090` or `h100` means. Raises ConfigError."""
    plain = name.upper()
    found = [known for known in KNOWN_GPUS if known in plain]
    if not found:
        raise ConfigError(
            f"gpu: {name!r} is not known. {suggestion(name, KNOWN_GPUS)} Others: --execution.vram."
        )
    return KNOWN_GPUS[found[0]]


def flops_of_gpu(name: str) -> float:
    """For each second of a card by the name that its driver tells; 0 where nobody knows."""
    return next((gpu.flops for known, gpu in KNOWN_GPUS.items() if known in name.upper()), 0.0)


def flops_of_processor() -> float:
    """For each second, float32, from a short trial that is made once for each version of torch."""
    path = cache_folder() / "throughput.json"
    key = f"torch {torch.__version__}, {torch.get_num_threads()} threads"
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        known = {}
    if not isinstance(known.get(key), float):
        known[key] = _try_out()
        write_text_atomic(path, json.dumps(known, indent=2) + "\n")
    return known[key]


def _try_out() -> float:
    matrix = torch.ones(_SIDE, _SIDE)
    best = float("inf")
    for _ in range(_REPEATS):
        started = time.perf_counter()
        torch.mm(matrix, matrix)
        best = min(best, time.perf_counter() - started)
    return _REACHED_ON_PROCESSORS * 2 * _SIDE**3 / best
