"""LoRAs of what was learned before: the difference of two models, the average along a training."""

import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from reelwright import families
from reelwright.adapters import extraction
from reelwright.adapters.averaging import average, averaged_metadata, power_shares, ramp_shares
from reelwright.adapters.exports import check_layout, export
from reelwright.adapters.extraction import Extracted, Pair, open_pair
from reelwright.checkpoint.safetensors_io import save_safetensors
from reelwright.core.errors import CheckpointError, ConfigError
from reelwright.core.events import Event, Facts, FileSaved, Finished, Notice, StepDone
from reelwright.execution.devices import choose_device
from reelwright.workflows.lora_writing import check_new, save_export

_DENOISER = "transformer"
"""Folder of the denoiser in the folder of a released model."""
_STAGE = "extract"
_NUM_SHOWN = 3


def extract(
    base: Path,
    tuned: Path,
    out: Path,
    rank: int = 16,
    to: str = "native",
    dtype: str = "float32",
    family: str = "",
) -> Iterator[Event]:
    """Write a LoRA that makes of `base` what is nearest to `tuned`: files, or folders of released models."""
    started = time.perf_counter()
    check_new(out, [base, tuned])
    names = [family] if family else families.names()
    candidates = [targets for name in names for targets in families.load(name).adapter_targets()]
    found: list[Extracted] = []
    with open_pair(_denoiser_of(base), _denoiser_of(tuned), candidates) as pair:
        check_layout(pair.targets, to)
        for number, each in enumerate(extraction.extract(pair, rank, choose_device("auto")), start=1):
            found.append(each)
            yield StepDone(_STAGE, number, len(pair.targets.shapes), time.perf_counter() - started)
        yield from _tell(pair, found)
        adapters = {each.module: each.adapter for each in found if each.adapter is not None}
        if not adapters:
            raise CheckpointError(f"{tuned}: all weights are those of {base}. There is nothing to extract.")
        made = export(adapters, pair.targets, to, {"extracted_from": f"{tuned.name} beside {base.name}"})
    yield from save_export(made.rounded(getattr(torch, dtype)), to, out)
    yield Finished(({"lora": str(out)},), time.perf_counter() - started)


def ema(
    files: Sequence[Path], out: Path, beta: float = 0.95, beta_end: float = -1.0, sigma_rel: float = 0.0
) -> Iterator[Event]:
    """Write the average of what one training saved, given from the first to the last."""
    started = time.perf_counter()
    check_new(out, files)
    if sigma_rel and beta_end >= 0:
        raise ConfigError("sigma_rel: has a course of its own. Leave out beta_end, or sigma_rel.")
    if sigma_rel:
        shares = power_shares(len(files), sigma_rel)
    else:
        shares = ramp_shares(len(files), beta, beta_end if beta_end >= 0 else beta)
    by_file = dict(zip(map(str, files), shares, strict=True))
    yield Facts({path: f"{share:.2%}" for path, share in by_file.items()})
    save_safetensors(out, average(files, shares), averaged_metadata(files[-1], by_file))
    yield FileSaved("lora", str(out))
    yield Finished(({"lora": str(out)},), time.perf_counter() - started)


def _denoiser_of(path: Path) -> Path:
    return path / _DENOISER if (path / _DENOISER).is_dir() else path


def _tell(pair: Pair, found: Sequence[Extracted]) -> Iterator[Event]:
    """How much of the change the LoRA holds, and what it cannot hold."""
    change, kept = (math.sqrt(sum(getattr(each, name) ** 2 for each in found)) for name in ("change", "kept"))
    changed = sum(each.adapter is not None for each in found)
    yield Facts(
        {
            "model": pair.targets.name,
            "modules": f"{changed} of {len(found)} differ",
            "norm of the change": f"{change:.4g}",
            "held by the LoRA": f"{kept / change:.2%}" if change else "0",
        }
    )
    if others := extraction.other_changes(pair):
        yield Notice(
            f"{len(others)} tensors differ that no LoRA holds, such as biases and norms:"
            f" {', '.join(others[:_NUM_SHOWN])}. They stay as in the base model."
        )
