"""Which stretches of a clip of n frames are cut out of it, as musubi-tuner cuts: pure integers."""

from collections.abc import Iterable, Sequence

import numpy as np

from reelwright.media.geometry import neighbor_num_frames

Stretch = tuple[int, int]
"""The first frame, and how many there are."""


def legal_lengths(target_frames: Iterable[int], frame_step: int) -> list[int]:
    """The lengths brought down to frame_step * k + 1, each once, shortest first."""
    return sorted({neighbor_num_frames(length, frame_step)[0] for length in target_frames})


def head(num_frames: int, lengths: Iterable[int]) -> list[Stretch]:
    """The beginning, once for each length that fits."""
    return [(0, length) for length in lengths if length <= num_frames]


def chunk(num_frames: int, lengths: Iterable[int]) -> list[Stretch]:
    """Pieces one after another; what is left at the end is shorter than a piece and left out."""
    return [(start, length) for length in lengths for start in range(0, num_frames - length + 1, length)]


def slide(num_frames: int, lengths: Iterable[int], stride: int) -> list[Stretch]:
    """Pieces that start every `stride` frames."""
    return [(start, length) for length in lengths for start in range(0, num_frames - length + 1, stride)]


def uniform(num_frames: int, lengths: Iterable[int], samples: int) -> list[Stretch]:
    """So many pieces with starts spread evenly; fewer where the clip has not so many starts."""
    stretches: list[Stretch] = []
    for length in lengths:
        if length <= num_frames:
            starts = np.linspace(0, num_frames - length, samples).astype(int).tolist()
            stretches += [(start, length) for start in dict.fromkeys(starts)]
    return stretches


def full(num_frames: int, max_frames: int, frame_step: int) -> list[Stretch]:
    """The whole clip, up to `max_frames`, brought down to frame_step * k + 1."""
    length = min(num_frames, max_frames)
    return [(0, neighbor_num_frames(length, frame_step)[0])] if length >= 1 else []


def longest(num_frames: int, lengths: Sequence[int]) -> list[Stretch]:
    """The beginning, in the longest of the lengths that fits."""
    return head(num_frames, lengths)[-1:]
