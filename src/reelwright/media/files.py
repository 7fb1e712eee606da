"""What images and clips have in common as files."""

from collections.abc import Mapping
from pathlib import Path

from reelwright.core.errors import FileError
from reelwright.core.paths import cannot_read


def check_has_content(path: Path) -> None:
    """Raise FileError unless `path` is a file that can be opened and is not empty."""
    try:
        with path.open("rb") as file:
            is_empty = not file.read(1)
    except OSError as error:
        raise cannot_read(path, error) from error
    if is_empty:
        raise FileError(f"{path}: is empty (0 bytes). Download or export it again.")


def check_texts(metadata: Mapping[str, str]) -> None:
    """Raise ValueError for a key or text that no file can hold: an empty key, or a zero character."""
    for key, text in metadata.items():
        if not key or "\0" in key + text:
            raise ValueError(f"metadata {key!r}: keys must not be empty, and texts hold no zero character")
