"""A frame as 16 x 16 mean colors: noise vanishes, small objects stay."""

import numpy as np
from numpy.typing import NDArray

from reelwright.media.frame_chunks import Pixels

BLOCKS = 16
Means = NDArray[np.float32]
"""[16, 16, 3] in [0, 255]."""


def block_means(frame_HWC: Pixels) -> Means:
    """Of a frame of 16 pixels or more each way; what is left over at the right and bottom does not count."""
    height, width = frame_HWC.shape[0] // BLOCKS, frame_HWC.shape[1] // BLOCKS
    cut = frame_HWC[: height * BLOCKS, : width * BLOCKS]
    blocks = cut.reshape(BLOCKS, height, BLOCKS, width, 3)
    return blocks.mean(axis=(1, 3), dtype=np.float32)
