"""What small denoisers of both families are asked in training, the same for the same item in any process."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from reelwright.families.cogvideox.conditions import Conditions as CogVideoXConditions
from reelwright.families.framepack.conditions import CleanLatents
from reelwright.families.framepack.conditions import Conditions as FramePackConditions

from .lora_networks import COGVIDEOX, FRAMEPACK, Draw


@dataclass(frozen=True)
class Question:
    """One item: what goes into the denoiser, and what it should answer."""

    latents: Tensor
    timestep: Tensor
    conditions: object
    target: Tensor


def error(denoiser: nn.Module, question: Question) -> Tensor:
    """The loss of the item."""
    answer = denoiser(question.latents, question.timestep, question.conditions)
    return (answer.float() - question.target).square().mean()


def _cogvideox(item: int) -> Question:
    draw = Draw(item)
    shape = (1, COGVIDEOX.in_channels, 2, 4, 4)
    text = draw(1, COGVIDEOX.max_text_seq_length, COGVIDEOX.text_embed_dim)
    conditions = CogVideoXConditions(text_BLD=text, positions_LD=draw(8, COGVIDEOX.width))
    return Question(draw(*shape), torch.tensor([100.0 + item]), conditions, draw(*shape))


def _framepack(item: int) -> Question:
    draw = Draw(item)

    def clean(*indices: int) -> CleanLatents:
        latents = draw(1, FRAMEPACK.in_channels, len(indices), 4, 4)
        return CleanLatents(latents_BCTHW=latents, indices_BT=torch.tensor([indices]))

    conditions = FramePackConditions(
        text_BLD=draw(1, 5, FRAMEPACK.text_embed_dim),
        # Prompts differ in length, as they do.
        text_lengths=(3 + item % 2,),
        pooled_BD=draw(1, FRAMEPACK.pooled_projection_dim),
        image_BLD=draw(1, 3, FRAMEPACK.image_proj_dim),
        guidance_B=torch.tensor([10_000.0]),
        indices_BT=torch.tensor([[1, 2]]),
        clean_1x=clean(0, 5),
        clean_2x=clean(6, 7),
        # Some have less history: modules for it have nothing to do.
        clean_4x=clean(8, 9, 10, 11) if item % 4 < 3 else None,
    )
    shape = (1, FRAMEPACK.in_channels, 2, 4, 4)
    return Question(draw(*shape), torch.tensor([500.0 + item]), conditions, draw(*shape))


QUESTIONS: dict[str, Callable[[int], Question]] = {"cogvideox": _cogvideox, "framepack": _framepack}
