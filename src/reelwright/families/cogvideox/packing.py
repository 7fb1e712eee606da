"""What an item of CogVideoX takes of a sequence that several share."""

from collections.abc import Mapping

from torch import Tensor

from reelwright.families.cogvideox.training_model import CogVideoXTrainingModel


def num_tokens(model: CogVideoXTrainingModel, tensors: Mapping[str, Tensor]) -> int:
    """Tokens of the caption and of the clip, filled up to whole patches (specs: CogVideoX 6.3)."""
    transformer = model.transformer
    frames, height, width = tensors["latents"].shape[-3:]
    size, size_t = transformer.patch_size, transformer.patch_size_t or 1
    num_video = -(-frames // size_t) * (height // size) * (width // size)
    return num_video + tensors["prompt_embeds"].shape[-2]
