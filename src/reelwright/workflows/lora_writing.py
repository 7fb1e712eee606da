"""LoRA files as commands write them: never over what they read, under the names that are looked for."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from reelwright.adapters.export_files import PAIR, write_file, write_pair
from reelwright.adapters.exports import Export
from reelwright.core.errors import ConfigError
from reelwright.core.events import Event
from reelwright.core.paths import check_writable


def check_new(out: Path, read: Sequence[Path]) -> None:
    """Raise ConfigError if `out` is what is read, FileError if it cannot be written."""
    if any(out.resolve() == path.resolve() for path in read):
        raise ConfigError(f"out: {out} is what is read. Name another file.")
    check_writable(out.parent)


def save_export(made: Export, to: str, out: Path) -> Iterator[Event]:
    """One file; of PEFT's pair of files, under its names or in a folder, both."""
    if to == "peft" and not out.suffix:
        return write_pair(out, made)
    if to == "peft" and out.name == PAIR[0]:
        return write_pair(out.parent, made)
    return write_file(out, made)
