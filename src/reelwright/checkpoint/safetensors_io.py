"""Files of weights in and out: opened by what they hold, written whole or not at all."""

import json
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from torch import Tensor

from reelwright.checkpoint.fingerprint import fingerprint
from reelwright.checkpoint.gguf_files import open_gguf
from reelwright.checkpoint.model_hashes import NO_HASHES, fill_in_hashes
from reelwright.checkpoint.recognize import recognize
from reelwright.checkpoint.safetensors_format import open_safetensors, write_safetensors
from reelwright.checkpoint.tensor_source import TensorSource, combine
from reelwright.checkpoint.torch_files import open_legacy_torch, open_torch
from reelwright.checkpoint.weight_files import find_weight_files
from reelwright.core.errors import CheckpointError
from reelwright.core.paths import atomic_path, write_text_atomic

__all__ = [
    "TensorSource",
    "fingerprint",
    "open_tensors",
    "read_safetensors_metadata",
    "save_safetensors",
    "save_sharded",
]

# Readers of the wider ecosystem refuse files that do not say which library's tensors they hold.
_FORMAT = {"format": "pt"}
_OPENERS = {
    "safetensors": open_safetensors,
    "torch": open_torch,
    "legacy_torch": open_legacy_torch,
    "gguf": open_gguf,
}


def open_tensors(path: Path) -> TensorSource:
    """The tensors of a file, of a set of shards, or of a model folder; close it after use.

    Raises CheckpointError that says what is wrong with the file and what to do.
    """
    with ExitStack() as opened:
        sources = [opened.enter_context(_open_file(file)) for file in find_weight_files(path)]
        combined = combine(sources) if len(sources) > 1 else sources[0]
        opened.pop_all()
    return combined


def read_safetensors_metadata(path: Path) -> dict[str, str]:
    """The free text that a safetensors file carries; nothing else is read."""
    if recognize(path) != "safetensors":
        raise CheckpointError(f"{path}: this is not a safetensors file.")
    with open_safetensors(path) as source:
        return dict(source.metadata)


def save_safetensors(
    path: Path,
    tensors: Mapping[str, Tensor],
    metadata: Mapping[str, str] | None = None,
    *,
    has_hashes: bool = False,
) -> None:
    """Write tensors to one file, whole or not at all; the same content gives the same bytes.

    `has_hashes`: the metadata also tell the hashes of the file's content, as files of adapters do.
    """
    hashes = NO_HASHES if has_hashes else {}
    with atomic_path(path) as temporary:
        write_safetensors(temporary, tensors, {**_FORMAT, **(metadata or {}), **hashes})
        if has_hashes:
            fill_in_hashes(temporary)


def save_sharded(
    folder: Path,
    tensors: Mapping[str, Tensor],
    *,
    max_shard_bytes: int = 5_000_000_000,
    stem: str = "diffusion_pytorch_model",
    metadata: Mapping[str, str] | None = None,
) -> list[Path]:
    """Write tensors to `folder` as released models are: one file, or numbered shards with an index.

    Files of an earlier save under the same stem are removed at the end. Returns the files of weights.
    """
    shards = _split(tensors, max_shard_bytes)
    names = [_shard_name(stem, number, len(shards)) for number in range(1, len(shards) + 1)]
    for name, shard in zip(names, shards, strict=True):
        save_safetensors(folder / name, {key: tensors[key] for key in shard}, metadata)
    index = folder / f"{stem}.safetensors.index.json"
    if len(shards) > 1:
        weight_map = {key: name for name, shard in zip(names, shards, strict=True) for key in shard}
        total = sum(tensor.nbytes for tensor in tensors.values())
        content = {"metadata": {"total_size": total}, "weight_map": weight_map}
        write_text_atomic(index, json.dumps(content, indent=2, sort_keys=True) + "\n")
        names.append(index.name)
    _remove_stale(folder, stem, keep=set(names))
    return [folder / name for name in names if name != index.name]


def _open_file(path: Path) -> TensorSource:
    return _OPENERS[recognize(path)](path)


def _split(tensors: Mapping[str, Tensor], max_shard_bytes: int) -> list[list[str]]:
    """Names in the order given, cut wherever the next tensor would not fit; one tensor is never cut."""
    shards: list[list[str]] = [[]]
    filled = 0
    for name, tensor in tensors.items():
        size = tensor.nbytes
        if shards[-1] and filled + size > max_shard_bytes:
            shards.append([])
            filled = 0
        shards[-1].append(name)
        filled += size
    return shards


def _shard_name(stem: str, number: int, count: int) -> str:
    return f"{stem}.safetensors" if count == 1 else f"{stem}-{number:05}-of-{count:05}.safetensors"


def _remove_stale(folder: Path, stem: str, keep: set[str]) -> None:
    digits = "[0-9]" * 5
    patterns = (
        f"{stem}-{digits}-of-{digits}.safetensors",
        f"{stem}.safetensors",
        f"{stem}.safetensors.index.json",
    )
    for pattern in patterns:
        for file in folder.glob(pattern):
            if file.name not in keep:
                file.unlink()
