"""Equal clips as the batches that an autoencoder takes, and the draws that belong to each clip."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from reelwright.data.cache_store import content_key
from reelwright.media.frame_chunks import cut_frames
from reelwright.protocols.caching import ClipFrames
from reelwright.protocols.clips import Clip


def stack_chunks(batch: Sequence[ClipFrames], lengths: Sequence[int]) -> Iterator[Tensor]:
    """uint8 chunk_BFHWC of clips of one size, in chunks of the lengths given; what is more is not read."""
    streams = [cut_frames(each.chunks(), lengths) for each in batch]
    return map(torch.stack, zip(*streams, strict=True))


def chunk_pixels(chunk_BFHWC: Tensor, device: torch.device) -> Tensor:
    """float32 [B, 3, F, H, W] in [-1, 1], by the arithmetic of the released pipelines."""
    chunk_BCFHW = chunk_BFHWC.permute(0, 4, 1, 2, 3).contiguous().to(device)
    return chunk_BCFHW.float().div_(255.0).mul_(2.0).sub_(1.0)


def clip_generator(seed: int, clip: Clip) -> torch.Generator:
    """Draws of a clip: whatever is encoded beside it, and wherever its file lies, they are the same."""
    place = {"start": clip.start, "num_frames": clip.num_frames, "size": list(clip.size), "fps": clip.fps}
    key = content_key(seed=seed, content=clip.facts.content, **place)
    return torch.Generator("cpu").manual_seed(int(key[:15], 16))
