"""A network with LoRAs in its weights, as files that load like a released model."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from reelwright.adapters.plan import AdapterPlan
from reelwright.checkpoint.key_map import KeyMap
from reelwright.checkpoint.safetensors_io import save_safetensors, save_sharded
from reelwright.checkpoint.settings_files import write_json
from reelwright.core.events import Event, FileSaved

_SETTINGS = "config.json"


def write_merged(
    tensors: Mapping[str, Tensor],
    plan: AdapterPlan,
    key_map: KeyMap,
    path: Path,
    settings: Mapping[str, Any],
    facts: Mapping[str, str] | None = None,
) -> Iterator[Event]:
    """Write a network's tensors with LoRAs in them under the names of `key_map`; says each file.

    A `path` that ends in .safetensors is one file, any other a folder with shards and with `settings` as
    config.json. Which LoRAs are in it goes into the metadata, with `facts`. Raises FileError where the disk
    refuses.
    """
    tensors = key_map.to_file(tensors)
    loras = {str(each.file.path): each.multiplier for each in plan.chosen}
    metadata = {"merged_loras": json.dumps(loras), **(facts or {})}
    if path.suffix == ".safetensors":
        save_safetensors(path, tensors, metadata)
        yield FileSaved("model", str(path))
        return
    for file in save_sharded(path, tensors, metadata=metadata):
        yield FileSaved("model", str(file))
    write_json(path / _SETTINGS, settings)
    yield FileSaved("settings", str(path / _SETTINGS))
