"""What an item of FramePack takes of a sequence that several share."""

from collections.abc import Mapping
from math import prod

from torch import Tensor

_REDUCED = {"latents": 1, "latents_clean": 1, "latents_clean_2x": 2, "latents_clean_4x": 4}
"""By how much frames are reduced on their way to patches of 2 x 2 (specs: FramePack 1.3)."""


def num_tokens(_model: object, tensors: Mapping[str, Tensor]) -> int:
    """Tokens of all frames, of the image and of the longest caption there may be."""
    num_video = sum(
        _num_patches(tensors[name], reduced) for name, reduced in _REDUCED.items() if name in tensors
    )
    return num_video + tensors["image_embeddings"].shape[-2] + tensors["llama_vec"].shape[-2]


def _num_patches(frames: Tensor, reduced: int) -> int:
    """What does not fill a patch takes a whole one."""
    patch = (reduced, 2 * reduced, 2 * reduced)
    return prod(-(-size // side) for size, side in zip(frames.shape[-3:], patch, strict=True))
