"""A network's tensors as files that load like a released model: one file, or a folder."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from reelwright.checkpoint.safetensors_io import save_safetensors, save_sharded
from reelwright.checkpoint.settings_files import write_json
from reelwright.core.events import Event, FileSaved

_SETTINGS = "config.json"


def is_one_file(path: Path) -> bool:
    """Whether `write_network` makes one file of that name, and no folder."""
    return path.suffix == ".safetensors"


def write_network(
    tensors: Mapping[str, Tensor],
    path: Path,
    settings: Mapping[str, Any],
    metadata: Mapping[str, str],
    stem: str = "diffusion_pytorch_model",
) -> Iterator[Event]:
    """Write tensors by their names in files; says each file.

    A `path` that ends in .safetensors is one file, any other a folder with shards and with `settings` as
    config.json. Raises FileError where the disk refuses.
    """
    if is_one_file(path):
        save_safetensors(path, tensors, metadata)
        yield FileSaved("model", str(path))
        return
    for file in save_sharded(path, tensors, stem=stem, metadata=metadata):
        yield FileSaved("model", str(file))
    write_json(path / _SETTINGS, settings)
    yield FileSaved("settings", str(path / _SETTINGS))
