"""A network with LoRAs in its weights, as files that load like a released model."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from reelwright.adapters.plan import AdapterPlan
from reelwright.checkpoint.key_map import KeyMap
from reelwright.checkpoint.network_files import write_network
from reelwright.core.events import Event


def write_merged(
    tensors: Mapping[str, Tensor],
    plan: AdapterPlan,
    key_map: KeyMap,
    path: Path,
    settings: Mapping[str, Any],
    facts: Mapping[str, str] | None = None,
) -> Iterator[Event]:
    """Write a network's tensors with LoRAs in them under the names of `key_map`, as `write_network` does.

    Which LoRAs are in it goes into the metadata, with `facts`.
    """
    loras = {str(each.file.path): each.multiplier for each in plan.chosen}
    metadata = {"merged_loras": json.dumps(loras), **(facts or {})}
    yield from write_network(key_map.to_file(tensors), path, settings, metadata)
