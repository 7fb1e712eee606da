"""Hashes that are known of files: what the hub said of a download, and what a file says of itself."""

import hashlib
import re
from pathlib import Path

from reelwright.checkpoint.model_hashes import WHOLE_HASH, model_hashes
from reelwright.checkpoint.recognize import recognize
from reelwright.checkpoint.safetensors_io import read_safetensors_metadata
from reelwright.core.errors import CheckpointError
from reelwright.core.paths import cannot_read, sha256_of

_SHA256 = re.compile(r"[0-9a-f]{64}")
_GIT = re.compile(r"[0-9a-f]{40}")
_PIECE_BYTES = 1 << 20


def check_hash(path: Path) -> bool:
    """Whether a hash is known of a file; all of the file is read then. Raises CheckpointError if it differs.

    The hub's cache calls the content of large files by their SHA-256 and that of small ones as git does; a
    download to a folder keeps the same beside it; files of adapters tell the hash of their tensors.
    """
    known = _told_by_hub(path)
    if _SHA256.fullmatch(known):
        _compare(path, known, sha256_of(path))
    elif _GIT.fullmatch(known):
        _compare(path, known, _git_hash(path))
    elif known := _told_by_file(path):
        _compare(path, known, model_hashes(path)[WHOLE_HASH])
    return bool(known)


def _told_by_hub(path: Path) -> str:
    """What the content is called in a cache of downloads, or in the notes that a download left."""
    content = path.resolve()
    if content.parent.name == "blobs":
        return content.name
    for folder in path.absolute().parents:
        note = folder / ".cache/huggingface/download" / f"{path.absolute().relative_to(folder)}.metadata"
        if note.is_file():
            # The commit, the hash and the time; a file that was changed later is not the one that came.
            lines = note.read_text(encoding="utf-8", errors="replace").splitlines()
            return lines[1].strip() if len(lines) > 1 else ""
    return ""


def _told_by_file(path: Path) -> str:
    if path.suffix != ".safetensors" or recognize(path) != "safetensors":
        return ""
    told = read_safetensors_metadata(path).get(WHOLE_HASH, "")
    return told.removeprefix("0x") if _SHA256.fullmatch(told.removeprefix("0x")) else ""


def _git_hash(path: Path) -> str:
    try:
        digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
        with path.open("rb") as file:
            while piece := file.read(_PIECE_BYTES):
                digest.update(piece)
    except OSError as error:
        raise cannot_read(path, error) from error
    return digest.hexdigest()


def _compare(path: Path, known: str, actual: str) -> None:
    if actual != known:
        raise CheckpointError(
            f"{path}: its content is not what it was: the hash is {actual[:12]}…, known is {known[:12]}…."
            " Remove the file and fetch it again."
        )
