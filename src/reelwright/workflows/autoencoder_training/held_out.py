"""Clips by which an autoencoder is judged and its latents are measured: the same ones each time."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from reelwright.data.clips import read_clip
from reelwright.workflows.autoencoder_training.finding import FoundAutoencoder
from reelwright.workflows.autoencoder_training.network import as_values


@dataclass(frozen=True, kw_only=True)
class HeldOutClip:
    """The first stretch of a source, cut to its middle."""

    name: str
    fps: float
    values: Tensor
    """float32 [1, 3, F, H, W] in [-1, 1]."""


def held_out_clips(found: FoundAutoencoder) -> Iterator[HeldOutClip]:
    """Of the validation data, or, where there are none, of the first sources that are trained on.

    They have the size of the last stage, and its length unless the validation says another; pictures have one
    frame, and sources that are too short are left out.
    """
    config, supply = found.config, found.validation or found.supply
    last = config.stages[-1]
    wanted = config.validation.frames or last.frames
    lengths = [(each, 1 if each.source.kind == "image" else wanted) for each in supply.sources]
    long = ((each, length) for each, length in lengths if each.num_frames >= length)
    for each, length in islice(long, config.validation.num_clips):
        frames = torch.cat(list(read_clip(each.clip(0, length, (last.width, last.height)))))
        yield HeldOutClip(name=each.source.media, fps=each.fps, values=as_values(frames[None]))
