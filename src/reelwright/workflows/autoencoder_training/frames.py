"""Stretches of sources as pixels: read when they are asked for, or kept in memory once they were."""

import threading

import torch
from torch import Tensor

from reelwright.data.clips import read_clip
from reelwright.media.geometry import Size
from reelwright.workflows.autoencoder_training.supply import Supplied


class FrameStore:
    """Whole sources in memory, as long as there is room; threads may share it.

    Nothing that was kept is given up for something else of the same stage: in a random order that would only
    read more. What a stretch looks like does not depend on whether its source is kept.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._stage = 0
        self._kept: dict[tuple[int, Size], Tensor] = {}
        self._reserved: dict[tuple[int, Size], int] = {}

    def stretch(
        self, stage: int, index: int, source: Supplied, size: Size, start: int, num_frames: int
    ) -> Tensor:
        """Frames of source `index` that have `size`, uint8 [F, H, W, 3]. Raises FileError."""
        self._begin(stage)
        key = (index, size)
        whole = self._kept.get(key)
        if whole is None and self._reserve(key, source.num_frames * size[0] * size[1] * 3):
            whole = _read(source, size, 0, source.num_frames)
            self._kept[key] = whole
        if whole is not None:
            return whole[start : start + num_frames]
        return _read(source, size, start, num_frames)

    def _begin(self, stage: int) -> None:
        """Make room if this is the first that is asked for of a later stage."""
        with self._lock:
            if stage > self._stage:
                self._kept.clear()
                self._reserved.clear()
                self._stage = stage

    def _reserve(self, key: tuple[int, Size], num_bytes: int) -> bool:
        """Whether this thread is to read the whole source, and may keep it."""
        with self._lock:
            if key in self._reserved or sum(self._reserved.values()) + num_bytes > self._max_bytes:
                return False
            self._reserved[key] = num_bytes
            return True


def _read(source: Supplied, size: Size, start: int, num_frames: int) -> Tensor:
    return torch.cat(list(read_clip(source.clip(start, num_frames, size))))
