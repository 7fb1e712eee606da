"""The hashes by which kohya's tools and the programs around them know a file of adapters."""

import hashlib
import json
from pathlib import Path

from reelwright.checkpoint.safetensors_format import compact_header, set_metadata

WHOLE_HASH, _PIECE = "sshs_model_hash", "sshs_legacy_hash"
NO_HASHES = {WHOLE_HASH: "0" * 64, _PIECE: "0" * 8}
"""What stands in the metadata until `fill_in_hashes`: it has their lengths."""

_PIECE_START, _PIECE_BYTES, _PIECE_DIGITS = 0x100000, 0x10000, 8


def fill_in_hashes(path: Path) -> None:
    """Put the hashes of a safetensors file, whose metadata has NO_HASHES, into its metadata."""
    set_metadata(path, model_hashes(path))


def model_hashes(path: Path) -> dict[str, str]:
    """SHA-256 of the tensors, and the beginning of that of 64 kB after the first MB.

    The latter is of the file as it would be with nothing but the ss_ keys in its metadata, whatever else is
    told in it. It moves with the header's length; of a file of less than 1 MB it says nothing.
    """
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        told = header.get("__metadata__", {})
        header["__metadata__"] = {key: value for key, value in told.items() if key.startswith("ss_")}
        start, bare = file.tell(), compact_header(header)
        before = len(bare).to_bytes(8, "little") + bare
        piece = before[_PIECE_START:][:_PIECE_BYTES]
        file.seek(start + max(0, _PIECE_START - len(before)))
        piece += file.read(_PIECE_BYTES - len(piece))
        file.seek(start)
        whole = hashlib.file_digest(file, "sha256").hexdigest()
    return {WHOLE_HASH: whole, _PIECE: hashlib.sha256(piece).hexdigest()[:_PIECE_DIGITS]}
