"""Captions as training items: each with its tokens, in the order that seed and epoch give."""

import hashlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch

from reelwright.data.batches import Supply
from reelwright.data.cached_items import CachedItem

Tokenize = Callable[[str], list[int]]
LISTED = "varlen_"
"""Before the name of each encoder's tokens: captions differ in length."""


class CaptionItems:
    """What a loader reads: item `file` is the caption of that number."""

    def __init__(
        self, captions: Sequence[str], tokenizers: Mapping[str, Tokenize], *, batch_size: int
    ) -> None:
        """tokenizers: by the name of each encoder."""
        self._captions = tuple(captions)
        self._tokenizers = dict(tokenizers)
        self.supply = Supply(
            groups=np.zeros(len(captions), np.int32),
            num_items=np.ones(len(captions), np.int32),
            num_repeats=np.ones(1, np.int32),
            batch_sizes=np.full(1, batch_size, np.int32),
        )
        facts = "\n".join([str(batch_size), *self._captions])
        self.identity = hashlib.sha256(facts.encode()).hexdigest()
        """Tells captions apart that give other orders."""

    @property
    def num_items(self) -> int:
        return len(self._captions)

    def read(self, file: int, draw: int, *, seed: int, epoch: int) -> CachedItem:
        """The tokens of a caption, int64 [L], for each encoder."""
        caption = self._captions[file]
        digest = hashlib.sha256(f"{seed} {epoch} {file} {draw}".encode()).digest()
        tokens = {name: torch.tensor(tokenize(caption)) for name, tokenize in self._tokenizers.items()}
        return CachedItem(
            name=caption,
            tensors={LISTED + name: row for name, row in tokens.items()},
            seed=int.from_bytes(digest[:8], "little") >> 1,
        )

    def group(self, file: int) -> str:
        """Captions of any length can be read together."""
        return "captions"
