"""Explicit uniform sampling in both families: losses of steps say more of the model and less of chance."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from reelwright.families.cogvideox.config import SchedulerConfig
from reelwright.families.cogvideox.schedule import training_alphas
from reelwright.families.framepack.config import FramePackNoiseConfig
from reelwright.families.framepack.objective import FramePackObjective
from reelwright.protocols.training import Batch, Example, Objective

from .cogvideox_batches import CPU, NOTHING_LEFT_OUT, objective_of
from .lora_networks import COGVIDEOX

SPREAD = 0.5
"""Standard deviation of the latents, which the model below knows."""
STEP, NUM_STEPS = 8, 100


def batch_at(place: int, count: int) -> Batch:
    """Items at some places of an epoch; each follows from its place."""
    drawn = [torch.Generator().manual_seed(1000 + place + index) for index in range(count)]
    return Batch(
        epoch=0,
        number=place,
        names=("clip",) * count,
        group="",
        tensors={
            "latents": SPREAD * torch.stack([torch.randn(16, 2, 4, 4, generator=each) for each in drawn]),
            "prompt_embeds": torch.ones(count, 6, 12),
            "llama_vec": torch.ones(count, 2, 4),
            "llama_attention_mask": torch.ones(count, 2),
            "clip_l_pooler": torch.ones(count, 4),
            "image_embeddings": torch.ones(count, 1, 4),
            "latent_indices": torch.ones(count, 2),
        },
        lists={},
        seeds=tuple(7 * (place + index) for index in range(count)),
        places=tuple(range(place, place + count)),
        num_places=STEP * NUM_STEPS,
        seed=1,
    )


def cogvideox_share(timestep_B: Tensor) -> Tensor:
    """What share of noisy latents is the best guess of their velocity, for normal latents."""
    signal = training_alphas(SchedulerConfig())[timestep_B.long()]
    return (signal * (1 - signal)).sqrt() * (1 - SPREAD**2) / (signal * SPREAD**2 + 1 - signal)


def framepack_share(timestep_B: Tensor) -> Tensor:
    level = timestep_B.double() / 1000
    return (level - (1 - level) * SPREAD**2) / ((1 - level) ** 2 * SPREAD**2 + level**2)


def cogvideox(*, explicit_uniform: bool) -> Objective:
    return objective_of(COGVIDEOX, replace(NOTHING_LEFT_OUT, explicit_uniform=explicit_uniform))


def framepack(*, explicit_uniform: bool) -> Objective:
    noise = FramePackNoiseConfig(timestep_sampling="uniform", explicit_uniform=explicit_uniform)
    return FramePackObjective(noise=noise, device=CPU, dtype=torch.float32)


FAMILIES = {"cogvideox": (cogvideox, cogvideox_share), "framepack": (framepack, framepack_share)}


def loss_of(example: Example, share_B: Tensor) -> float:
    answer = share_B.float()[:, None, None, None, None] * example.noisy_BCTHW
    return (answer - example.target_BCTHW).square().mean().item()


def losses(family: str, *, explicit_uniform: bool) -> Tensor:
    """Of each step, which has 8 items, of a model that does not change."""
    make, share = FAMILIES[family]
    objective = make(explicit_uniform=explicit_uniform)
    examples = [objective.example(batch_at(STEP * step, STEP)) for step in range(NUM_STEPS)]
    return torch.tensor([loss_of(each, share(each.timestep_B)) for each in examples])


@pytest.mark.parametrize("family", FAMILIES)
def test_the_loss_of_a_step_varies_far_less(family):
    free, explicit = (losses(family, explicit_uniform=flag) for flag in (False, True))
    # Measured: a fifteenth and less.
    assert free.var() > 5 * explicit.var()
    assert free.mean().item() == pytest.approx(explicit.mean().item(), rel=0.05)


@pytest.mark.parametrize("family", FAMILIES)
def test_ranks_and_batch_sizes_do_not_change_what_an_item_gets(family):
    objective = FAMILIES[family][0](explicit_uniform=True)
    whole = objective.example(batch_at(16, 8))
    ranks = [objective.example(batch_at(16 + 4 * rank, 4)) for rank in range(2)]
    assert torch.equal(whole.timestep_B, torch.cat([each.timestep_B for each in ranks]))
    assert torch.equal(whole.noisy_BCTHW, torch.cat([each.noisy_BCTHW for each in ranks]))
    eighths = (whole.timestep_B.double() / 125).long().clamp(0, 7)
    assert sorted(eighths.tolist()) == list(range(8))
