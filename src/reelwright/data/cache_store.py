"""Tensors kept on disk under the facts that they follow from, so that nothing is computed twice."""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor

from reelwright.checkpoint.safetensors_format import open_safetensors
from reelwright.checkpoint.safetensors_io import save_safetensors
from reelwright.core.errors import FileError

_KEY = re.compile(r"[0-9a-f]{64}")
_DIGEST = "content_sha256"
_ONLY = "features"


class CacheStore:
    """A folder of tensors by key. Several processes may share it: an entry is whole or absent.

    Keys are those of `content_key`. An entry that is damaged, even in a single bit, counts as absent.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, key: str) -> dict[str, Tensor] | None:
        """The tensors put under `key`, or None."""
        path = self._path(key)
        if not path.is_file():
            return None
        try:
            with open_safetensors(path) as source:
                tensors = {name: source.read(name) for name in source.names()}
                digest = source.metadata.get(_DIGEST)
        except FileError:
            return None
        return tensors if digest == content_digest(tensors) else None

    def get_or_make(
        self, key: str, make: Callable[[], Tensor], metadata: Mapping[str, str] | None = None
    ) -> Tensor:
        """The one tensor put under `key`, in CPU memory; or what `make` gives, put there."""
        found = self.get(key)
        if found is not None and _ONLY in found:
            return found[_ONLY]
        made = make().cpu()
        # A cache that cannot be written saves no time; the work is done all the same.
        with suppress(FileError):
            self.put(key, {_ONLY: made}, metadata)
        return made

    def put(self, key: str, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
        """Keep `tensors`, in place of what was there. Raises FileError where the disk refuses."""
        save_safetensors(self._path(key), tensors, {**(metadata or {}), _DIGEST: content_digest(tensors)})

    def _path(self, key: str) -> Path:
        if not _KEY.fullmatch(key):
            raise ValueError(f"{key!r} is no key of content_key()")
        # Two levels: a folder of a million files is slow to list.
        return self.folder / key[:2] / f"{key}.safetensors"


def content_key(**facts: object) -> str:
    """SHA-256 in hex of facts that JSON can hold, whatever their order; equal facts give equal keys.

    Raises TypeError or ValueError for anything else (a tensor, a NaN): its text would not tell its content.
    """
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def content_digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 in hex of names, number formats, shapes and values."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
