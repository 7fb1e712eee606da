"""How long encoding will take, from a small sample on this machine."""

import time
from collections.abc import Callable

import torch

from reelwright.media.geometry import nearest_multiple
from reelwright.protocols.caching import ClipFrames, LatentCache, TextCache
from reelwright.protocols.clips import Clip, ClipRule, MediaFacts, Source
from reelwright.protocols.datasets import DatasetConfig

_SIDE = 96
"""Pixels, about: large enough that the network's work outweighs its start."""
_CAPTION = "a red ball rolls over the floor"


def seconds_per_pixel(cache: LatentCache, dataset: DatasetConfig, rule: ClipRule) -> float:
    """Seconds that a pixel of a frame takes; networks are loaded before the clock starts."""
    encoder = cache.open()
    clip = _sample_clip(rule)

    def encode() -> None:
        frames_FHWC = torch.zeros((clip.num_frames, clip.size[1], clip.size[0], 3), dtype=torch.uint8)
        encoder.encode([ClipFrames(clip=clip, dataset=dataset, chunks=lambda: iter([frames_FHWC]))])

    return _timed(encode) / (clip.size[0] * clip.size[1] * clip.num_frames)


def seconds_per_caption(cache: TextCache) -> float:
    encoder = cache.open()
    return _timed(lambda: encoder.encode([_CAPTION]))


def _timed(work: Callable[[], object]) -> float:
    """Seconds of a second go: the first one loads and warms up."""
    work()
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _sample_clip(rule: ClipRule) -> Clip:
    side = nearest_multiple(_SIDE, rule.size_step)
    is_clip = "video" in rule.kinds
    num_frames = max(rule.min_frames, rule.frame_step + 1) if is_clip else 1
    source = Source(
        media="sample",
        kind="video" if is_clip else "image",
        stem="sample",
        caption=_CAPTION,
        caption_origin="",
    )
    facts = MediaFacts(
        size=(side, side),
        num_frames=num_frames,
        fps=rule.fps,
        duration=num_frames / rule.fps,
        content="0" * 64,
    )
    return Clip(source=source, facts=facts, start=0, num_frames=num_frames, size=(side, side), fps=rule.fps)
