"""Batches of CogVideoX as the loader gives them, and objectives that noise them."""

import torch
from torch import Tensor

from reelwright.families.cogvideox.checkpoints import Layout
from reelwright.families.cogvideox.config import CogVideoXNoiseConfig, SchedulerConfig, TransformerConfig
from reelwright.families.cogvideox.latent_space import LatentSpace
from reelwright.families.cogvideox.objective import CogVideoXObjective
from reelwright.families.cogvideox.schedule import training_alphas
from reelwright.families.cogvideox.training_channels import TrainingChannels
from reelwright.protocols.training import Batch

CPU = torch.device("cpu")
NOTHING_LEFT_OUT = CogVideoXNoiseConfig(caption_dropout=0.0, condition_dropout=0.0)


def batch_of(tensors: dict[str, Tensor], *, seeds: tuple[int, ...] = (), **facts: int) -> Batch:
    """A batch with everything that training may read."""
    count = len(next(iter(tensors.values())))
    return Batch(
        **{"epoch": 0, "number": 0, "group": "", "lists": {}, **facts},
        names=tuple(f"clip {index}" for index in range(count)),
        tensors=tensors,
        seeds=seeds or tuple(range(100, 100 + count)),
        places=tuple(range(count)),
        num_places=count,
    )


def objective_of(
    transformer: TransformerConfig,
    settings: CogVideoXNoiseConfig = NOTHING_LEFT_OUT,
    *,
    channels: TrainingChannels | None = None,
    no_caption: Tensor | None = None,
) -> CogVideoXObjective:
    return CogVideoXObjective(
        settings=settings,
        transformer=transformer,
        rope_grid="exact",
        alphas=training_alphas(SchedulerConfig()),
        no_caption_LD=no_caption,
        channels=channels,
        device=CPU,
        dtype=torch.float32,
    )


def channels_of(
    layout: Layout,
    settings: CogVideoXNoiseConfig = NOTHING_LEFT_OUT,
    *,
    space: LatentSpace | None = None,
    is_noised: bool = False,
    image_scale: float = 0.7,
) -> TrainingChannels:
    return TrainingChannels(
        layout=layout,
        settings=settings,
        is_noised=is_noised,
        space=space,
        image_scale=image_scale,
        clip_scale=0.7,
    )
