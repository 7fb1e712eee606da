"""Frames in chunks, as a decoder hands them out: uint8 tensors chunk_FHWC of red, green and blue."""

from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Pixels = NDArray[np.uint8]


def each_frame(chunks: Iterable[Tensor]) -> Iterator[Pixels]:
    """The frames of `chunks` one by one, as contiguous arrays frame_HWC.

    Raises ValueError for a chunk that is not uint8 FHWC with three channels, and for a change of size.
    """
    size: tuple[int, ...] | None = None
    for chunk_FHWC in chunks:
        if chunk_FHWC.dtype != torch.uint8 or chunk_FHWC.ndim != 4 or chunk_FHWC.shape[-1] != 3:
            raise ValueError(
                f"chunk: expected uint8 [F, H, W, 3], got {chunk_FHWC.dtype} {list(chunk_FHWC.shape)}"
            )
        size = size or tuple(chunk_FHWC.shape[1:])
        if tuple(chunk_FHWC.shape[1:]) != size:
            raise ValueError(f"chunk: frames are {list(chunk_FHWC.shape[1:])}, those before are {list(size)}")
        for frame_HWC in chunk_FHWC:
            yield frame_HWC.contiguous().cpu().numpy()


def cut_frames(chunks: Iterable[Tensor], lengths: Iterable[int]) -> Iterator[Tensor]:
    """The frames of `chunks` as chunks of the lengths given, in memory of their own.

    Raises ValueError if there are too few frames.
    """
    frames = (frame_HWC for chunk_FHWC in chunks for frame_HWC in chunk_FHWC)
    for length in lengths:
        taken = list(islice(frames, length))
        if len(taken) < length:
            raise ValueError(f"chunk: {length} frames are wanted, {len(taken)} are left")
        yield torch.stack(taken)
