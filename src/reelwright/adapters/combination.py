"""Several adapters of one module as one, exactly: LoRA by putting ranks side by side."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager

import torch

from reelwright.adapters.factors import Adapter, scaled
from reelwright.adapters.formats import AdapterFile, load_adapter
from reelwright.checkpoint.safetensors_io import open_tensors
from reelwright.checkpoint.tensor_source import TensorSource
from reelwright.core.errors import CheckpointError

Adapters = Mapping[str, Adapter]
"""By our module name."""


def load_adapters(file: AdapterFile) -> dict[str, Adapter]:
    """Everything that a file holds for this network, in memory."""
    opened: AbstractContextManager[TensorSource] = open_tensors(file.path)
    with opened as source:
        found: dict[str, list[Adapter]] = {}
        for module in file.modules:
            for target in module.targets:
                found.setdefault(target.module, []).append(load_adapter(source, module, target))
    return {name: _sum(name, [(adapter, 1.0) for adapter in each]) for name, each in found.items()}


def combine(files: Sequence[Adapters], multipliers: Sequence[float]) -> dict[str, Adapter]:
    """One adapter for each module that does what all of them do together at these strengths.

    Raises CheckpointError where the sum is no adapter of one kind.
    """
    names = dict.fromkeys(name for adapters in files for name in adapters)
    pairs = list(zip(files, multipliers, strict=True))
    return {
        name: _sum(name, [(adapters[name], multiplier) for adapters, multiplier in pairs if name in adapters])
        for name in names
    }


def concatenate_ranks(adapters: Sequence[Adapter], rows: Sequence[tuple[int, ...]], of: int) -> Adapter:
    """LoRAs of several row chunks of one module as one LoRA whose rank is the sum of theirs.

    Each fills the chunks that `rows` says of the `of` equal ones; the others stay unchanged.
    """
    ranks = [adapter.rank for adapter in adapters]
    ups = [scaled(adapter, adapter.scale).factors["up"].flatten(1) for adapter in adapters]
    size = ups[0].shape[0] // len(rows[0])
    dtype = _widest(ups)
    up = torch.zeros(of, size, sum(ranks), dtype=dtype)
    start = 0
    for part, parts, rank in zip(ups, rows, ranks, strict=True):
        up[list(parts), :, start : start + rank] = part.to(dtype).unflatten(0, (len(parts), size))
        start += rank
    downs = [adapter.factors["down"] for adapter in adapters]
    down = torch.cat([down.to(_widest(downs)) for down in downs])
    return Adapter(kind="lora", factors={"down": down, "up": up.flatten(0, 1)}, alpha=float(sum(ranks)))


def _sum(name: str, pieces: Sequence[tuple[Adapter, float]]) -> Adapter:
    if len(pieces) == 1:
        return scaled(*pieces[0])
    adapters = [scaled(*piece) for piece in pieces]
    if any(adapter.kind != "lora" for adapter in adapters):
        kinds = " and ".join(adapter.kind for adapter in adapters)
        raise CheckpointError(
            f"{name}: the sum of {kinds} is no LoRA. Give both files with --lora, or write the model with"
            " --save-merged-model."
        )
    return concatenate_ranks(adapters, [(0,)] * len(adapters), 1)


def _widest(tensors: Sequence[torch.Tensor]) -> torch.dtype:
    dtype = tensors[0].dtype
    for tensor in tensors[1:]:
        dtype = torch.promote_types(dtype, tensor.dtype)
    return dtype
