"""What a file is, by its content: names lie, and many things are saved under a weights file's name."""

import re
import struct
import zipfile
from pathlib import Path
from typing import Literal

from reelwright.core.errors import CheckpointError
from reelwright.core.paths import cannot_read

WeightsKind = Literal["safetensors", "torch", "legacy_torch", "gguf"]

_NUM_START_BYTES = 512
_ZIP = b"PK\x03\x04"
_PICKLE = re.compile(rb"\x80[\x02-\x05]")  # the opcode PROTO and its version, with which pickles begin
_WEB_PAGE = re.compile(rb"\s*<(!doctype|html|head|\?xml)", re.IGNORECASE)


def recognize(path: Path) -> WeightsKind:
    """The kind of weights file that `path` is. Raises CheckpointError that says what else it is."""
    start = check_not_foreign(path)
    if start.startswith(_ZIP):
        _check_torch_archive(path)
        return "torch"
    if _PICKLE.match(start):
        return "legacy_torch"
    if start.startswith(b"GGUF"):
        return "gguf"
    if start[8:9] == b"{":
        return "safetensors"
    raise CheckpointError(
        f"{path}: this is not a file of weights."
        " Give a .safetensors file, a PyTorch .pt file or a model folder."
    )


def check_not_foreign(path: Path) -> bytes:
    """The first bytes of `path`. Raises CheckpointError if they are of what is left of a failed download."""
    try:
        with path.open("rb") as file:
            start = file.read(_NUM_START_BYTES)
    except OSError as error:
        raise cannot_read(path, error) from error
    if foreign := _foreign(start):
        raise CheckpointError(f"{path}: {foreign}")
    return start


def _foreign(start: bytes) -> str | None:
    """What the file is instead of weights, and what to do; None if it may be weights."""
    if not start:
        return "the file is empty. The download did not begin; fetch it again."
    if start.startswith(b"version https://git-lfs"):
        return (
            f"this is a git-lfs pointer, not the weights themselves{_pointed_size(start)}."
            " Run `git lfs pull` in that folder, or download the file itself."
        )
    if _WEB_PAGE.match(start):
        return (
            "this is a web page, not weights: the link led to a page or to a sign-in."
            " Download the file itself."
        )
    return None


def _pointed_size(pointer: bytes) -> str:
    size = re.search(rb"^size (\d+)", pointer, re.MULTILINE)
    return f" (those are {int(size[1]):,} bytes)" if size else ""


def _check_torch_archive(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            is_torch = any(name.endswith("/data.pkl") for name in archive.namelist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, struct.error) as error:
        raise CheckpointError(
            f"{path}: the file is cut short or damaged: the table of contents at its end is not there."
            " Fetch it again."
        ) from error
    if not is_torch:
        raise CheckpointError(
            f"{path}: this is a zip archive without PyTorch weights. Unpack it and give the weights inside."
        )
