"""Frames of latents in memory, for front ends that hand them on."""

import time
from collections.abc import Iterator
from functools import partial

from torch import Tensor

from reelwright.core.events import Event, StageStarted, StepDone
from reelwright.execution.devices import choose_device, peak_memory
from reelwright.protocols.family import Segment
from reelwright.workflows.clips.memory import until_it_fits


def decode_frames(segment: Segment, chunks: list[Tensor], device: str) -> Iterator[Event]:
    """Decode into `chunks`, uint8 chunk_FHWC; where memory runs out, again from the start in smaller tiles.

    Raises MemoryLimitError where nothing smaller is left.
    """
    yield from until_it_fits(partial(_decode, segment, chunks, device), segment.lessen)


def _decode(segment: Segment, chunks: list[Tensor], device: str) -> Iterator[Event]:
    chunks.clear()
    yield StageStarted("decode", segment.num_frames)
    num_frames, before = 0, time.perf_counter()
    for chunk in segment.decode():
        chunks.append(chunk)
        num_frames += len(chunk)
        seconds, before = time.perf_counter() - before, time.perf_counter()
        yield StepDone("decode", num_frames, segment.num_frames, seconds, peak_memory(choose_device(device)))
