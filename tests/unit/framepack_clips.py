"""Clips and pictures of FramePack's caches, their pixels, and what the autoencoder alone makes of them.

What is located and opened is kept for all modules of tests, each of which must use the fixture `small_tiny`.
"""

from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from reelwright.families.framepack.cache_encoding import FramePackLatentEncoder
from reelwright.families.framepack.cache_latents import FramePackLatentCache, locate_latents
from reelwright.families.framepack.checkpoints import load_autoencoder
from reelwright.families.framepack.config import FramePackCacheLatents, FramePackDatasetKeys
from reelwright.protocols.caching import CacheFile, ClipFrames
from reelwright.protocols.clips import Clip, MediaFacts, Source
from reelwright.protocols.datasets import DatasetConfig

SIDE = 32
SCALE = 0.476986


def dataset(window: int = 9, **keys: Any) -> DatasetConfig:
    own = FramePackDatasetKeys(fp_latent_window_size=window, **keys)
    return DatasetConfig(folder="data", family_keys={"framepack": own})


def clip(num_frames: int = 41, *, stem: str = "a", start: int = 0, content: str = "c") -> Clip:
    return Clip(
        source=Source(media=f"data/{stem}.mp4", kind="video", stem=stem, caption="", caption_origin=""),
        facts=MediaFacts(size=(80, 60), num_frames=900, fps=30.0, duration=30.0, content=content),
        start=start,
        num_frames=num_frames,
        size=(SIDE, SIDE),
        fps=30.0,
    )


def picture(*controls: Path, stem: str = "a") -> Clip:
    source = Source(
        media=f"data/{stem}.png",
        kind="image",
        stem=stem,
        caption="",
        caption_origin="",
        controls=tuple(map(str, controls)),
    )
    facts = MediaFacts(size=(80, 60), num_frames=1, fps=0.0, duration=0.0, content=stem)
    return Clip(source=source, facts=facts, start=0, num_frames=1, size=(SIDE, SIDE), fps=0.0)


def pixels(num_frames: int, seed: int = 0) -> Tensor:
    """uint8 video_FHWC that changes from frame to frame."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (num_frames, SIDE, SIDE, 3), dtype=torch.uint8, generator=generator)


def drifting_waves(num_frames: int, side: int) -> Tensor:
    """video_BCFHW in [-1, 1] that moves and changes color."""
    time = torch.arange(num_frames).view(-1, 1, 1) / 30
    place = torch.linspace(0, 6.3, side)
    across, down = place.view(1, 1, -1), place.view(1, -1, 1)
    colors = [
        0.5 * torch.sin(2 * across + 3 * time + c) + 0.4 * torch.sin(3 * down - 2 * time) for c in range(3)
    ]
    return torch.stack(colors)[None]


def frames(of: Clip, data: DatasetConfig, seed: int = 0) -> ClipFrames:
    """Its pixels in chunks as a decoder hands them out."""
    return ClipFrames(clip=of, dataset=data, chunks=lambda: iter(pixels(of.num_frames, seed).split(8)))


@cache
def located(**options: Any) -> FramePackLatentCache:
    found = locate_latents(FramePackCacheLatents(**options))
    assert found.autoencoder.scaling_factor == SCALE, "the module of tests lacks the fixture small_tiny"
    return found


@cache
def encoder(**options: Any) -> FramePackLatentEncoder:
    return located(**options).open()


def encoded(of: Clip, data: DatasetConfig, seed: int = 0, **options: Any) -> list[CacheFile]:
    (files,) = encoder(**options).encode([frames(of, data, seed)])
    return list(files)


@cache
def autoencoder() -> Any:
    found = located()
    return load_autoencoder(
        found.autoencoder_path, found.autoencoder, torch.device("cpu"), torch.float32
    ).eval()


def posterior(video_FHWC: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation of a clip, [C, T, H, W], scaled."""
    video = video_FHWC.permute(3, 0, 1, 2)[None].float() / 127.5 - 1
    with torch.no_grad():
        found = autoencoder().encode(video)
    return found.mean[0] * SCALE, torch.exp(found.log_variance[0] / 2) * SCALE
