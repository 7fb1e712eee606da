"""A network with LoRAs in its weights, as files that load like a released model."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from reelwright.checkpoint.key_map import KeyMap
from reelwright.checkpoint.safetensors_io import save_safetensors, save_sharded
from reelwright.core.paths import write_text_atomic

_SETTINGS = "config.json"


def write_merged(
    network: nn.Module,
    key_map: KeyMap,
    path: Path,
    settings: Mapping[str, Any],
    merged: Mapping[str, float] | None = None,
) -> list[Path]:
    """Write a network under the names of `key_map`; returns the files.

    A `path` that ends in .safetensors is one file, any other a folder with shards and with `settings` as
    config.json. `merged` (LoRA file -> multiplier) goes into the metadata. Raises FileError where the disk
    refuses.
    """
    tensors = key_map.to_file(network.state_dict())
    metadata = {"merged_loras": json.dumps(merged)} if merged else {}
    if path.suffix == ".safetensors":
        save_safetensors(path, tensors, metadata)
        return [path]
    files = save_sharded(path, tensors, metadata=metadata)
    write_text_atomic(path / _SETTINGS, json.dumps(settings, indent=2) + "\n")
    return [*files, path / _SETTINGS]
