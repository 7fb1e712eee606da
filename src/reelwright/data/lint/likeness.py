"""What makes two clips alike to the eye, whatever their size, bitrate or frame rate."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from reelwright.data.lint.libraries import optional_library
from reelwright.media.frame_chunks import Pixels

NUM_MOMENTS = 4
"""Frames of a clip that are compared, each from the middle of a quarter of its duration."""
_THUMBNAIL = 8
_LARGEST_DIFFERENCE = 24
"""Levels of 255 between two thumbnails, anywhere: a thing in another place makes more."""
_MEAN_DIFFERENCE = 5.0

Thumbnails = NDArray[np.uint8]
"""[NUM_MOMENTS, 8, 8, 3]."""


class LikenessGauge:
    """Takes hash and thumbnail of the frames that are on screen at fixed shares of the duration."""

    def __init__(self, duration: float) -> None:
        self._moments = [(step + 0.5) / NUM_MOMENTS * duration for step in range(NUM_MOMENTS)]
        self._hashes: list[int] = []
        self._thumbnails: list[bytes] = []
        self._imagehash = optional_library("imagehash")

    def add(self, frame_HWC: Pixels, end: float) -> None:
        """A frame that is on screen until `end` seconds."""
        while len(self._hashes) < NUM_MOMENTS and self._moments[len(self._hashes)] < end:
            self._take(frame_HWC)

    def finish(self, last_HWC: Pixels) -> None:
        """Let the last frame stand for moments that a clip did not reach."""
        while len(self._hashes) < NUM_MOMENTS:
            self._take(last_HWC)

    @property
    def hashes(self) -> tuple[int, ...]:
        return tuple(self._hashes)

    @property
    def thumbnails(self) -> str:
        return b"".join(self._thumbnails).hex()

    def _take(self, frame_HWC: Pixels) -> None:
        picture = Image.fromarray(frame_HWC)
        self._hashes.append(int(str(self._imagehash.phash(picture)), 16))
        small = picture.resize((_THUMBNAIL, _THUMBNAIL), Image.Resampling.BOX)
        self._thumbnails.append(small.tobytes())


def look_alike(first: str, second: str) -> bool:
    """Whether the thumbnails of two clips, in hex, show the same."""
    if not first or not second:
        return False
    pictures = np.frombuffer(bytes.fromhex(first), np.uint8), np.frombuffer(bytes.fromhex(second), np.uint8)
    difference = np.abs(pictures[0].astype(np.int16) - pictures[1])
    return int(difference.max()) <= _LARGEST_DIFFERENCE and float(difference.mean()) <= _MEAN_DIFFERENCE
