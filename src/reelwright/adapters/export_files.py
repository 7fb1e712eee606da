"""Adapters that were laid out, on disk: one file, or the pair of files that PEFT reads."""

from collections.abc import Iterator
from pathlib import Path

from reelwright.adapters.exports import Export
from reelwright.checkpoint.safetensors_io import save_safetensors
from reelwright.checkpoint.settings_files import write_json
from reelwright.core.events import Event, FileSaved

PAIR = ("adapter_model.safetensors", "adapter_config.json")


def write_file(path: Path, made: Export) -> Iterator[Event]:
    """Raises FileError where the disk refuses, as `write_pair` does."""
    save_safetensors(path, made.tensors, made.metadata, has_hashes=True)
    yield FileSaved("lora", str(path))


def write_pair(folder: Path, made: Export) -> Iterator[Event]:
    """The weights are written last: where they are, all is there."""
    write_json(folder / PAIR[1], made.settings)
    yield from write_file(folder / PAIR[0], made)
    yield FileSaved("settings", str(folder / PAIR[1]))
