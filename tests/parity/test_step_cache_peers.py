"""Step caches against those of diffusers, on the same weights and the same course of latents.

Where definitions differ: diffusers may leave out the last step, which is always computed here; its MagCache
rounds the first part of the steps to the nearest number, its first-block cache has no such part and no limit
of steps in a row; neither keeps prompts apart unless a pipeline does. It has no TeaCache.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import CogVideoXTransformer3DModel, FirstBlockCacheConfig, MagCacheConfig
from torch import Tensor, nn

from reelwright.execution.policy import Call
from reelwright.execution.prepare import prepare_to_generate
from reelwright.families.cogvideox.conditions import Conditions, position_conditions
from reelwright.families.cogvideox.config import TransformerConfig
from reelwright.families.cogvideox.execution_facts import EXECUTION_FACTS
from reelwright.families.cogvideox.transformer import CogVideoXTransformer
from reelwright.protocols.configs import ExecutionConfig

from .released import (
    LAYOUTS,
    largest_error,
    reference_rotary,
    reference_transformer,
    reference_velocity,
    same_transformer,
    scatter_norms,
)

BOUND = 1e-5
"""Largest absolute error in float32 of latents of order one, after all steps."""
NUM_STEPS = 20
GRID = (3, 8, 12)
LAYOUT: TransformerConfig = replace(LAYOUTS["5b"], num_layers=4)
TIMESTEPS = torch.linspace(999, 0, NUM_STEPS).round()
RATIOS = [*np.random.default_rng(2).uniform(0.9, 1.1, NUM_STEPS - 1).tolist(), 3.0]
"""So that the last step is computed by all."""

Course = tuple[list[Tensor], list[bool]]


@pytest.fixture
def pair() -> tuple[CogVideoXTransformer, CogVideoXTransformer3DModel]:
    torch.manual_seed(0)
    reference = reference_transformer(LAYOUT).eval()
    scatter_norms(reference)
    return same_transformer(reference, LAYOUT), reference


def course(predict: Callable[[int, Tensor], Tensor], last_attention: nn.Module) -> Course:
    """Latents after each step, and whether the last block was left out in it."""
    runs: list[int] = []
    last_attention.register_forward_hook(lambda *_: runs.append(1))
    torch.manual_seed(1)
    latents = torch.randn(1, LAYOUT.in_channels, *GRID)
    states, left_out = [], []
    for step in range(NUM_STEPS):
        before = len(runs)
        latents = latents - predict(step, latents) / NUM_STEPS
        states.append(latents)
        left_out.append(len(runs) == before)
    return states, left_out


def prompt() -> Tensor:
    shape = (1, LAYOUT.max_text_seq_length, LAYOUT.text_embed_dim)
    return torch.randn(shape, generator=torch.Generator().manual_seed(3))


def our_course(ours: CogVideoXTransformer, **options: Any) -> Course:
    conditions = Conditions(text_BLD=prompt(), **position_conditions(LAYOUT, GRID, "released"))
    calls = [
        Call(
            step=step,
            num_steps=NUM_STEPS,
            branch="positive",
            timestep_B=TIMESTEPS[step : step + 1],
            conditions=conditions,
        )
        for step in range(NUM_STEPS)
    ]
    execution = ExecutionConfig(**{f"step_cache{name}": value for name, value in options.items()})
    denoiser, _ = prepare_to_generate(
        ours, execution, device=torch.device("cpu"), dtype=torch.float32, facts=EXECUTION_FACTS
    )
    denoiser.start(calls)
    with torch.no_grad():
        return course(lambda step, latents: denoiser(latents, calls[step]), ours.blocks[-1].attention)


def their_course(reference: CogVideoXTransformer3DModel, config: object) -> Course:
    reference.enable_cache(config)
    rotary = reference_rotary(reference, GRID)

    def predict(step: int, latents: Tensor) -> Tensor:
        with reference.cache_context("one"):
            return reference_velocity(reference, latents, prompt(), TIMESTEPS[step : step + 1], rotary)

    return course(predict, reference.transformer_blocks[-1].attn1)


@pytest.mark.parametrize(("threshold", "most"), [(0.1, 3), (0.5, 6)])
def test_magcache_leaves_out_the_steps_of_the_peer_and_comes_to_its_latents(pair, threshold, most):
    ours, left_out = our_course(
        pair[0], **{"": "magcache"}, _threshold=threshold, _max_skips=most, _ratio_list=tuple(RATIOS)
    )
    config = MagCacheConfig(
        threshold=threshold, max_skip_steps=most, num_inference_steps=NUM_STEPS, mag_ratios=RATIOS
    )
    theirs, expected = their_course(pair[1], config)
    assert left_out == expected
    assert 3 < sum(left_out) < NUM_STEPS
    assert largest_error(torch.stack(ours), torch.stack(theirs)) <= BOUND


@pytest.mark.parametrize("threshold", [0.2, 0.35])
def test_the_first_block_cache_leaves_out_the_steps_of_the_peer_and_comes_to_its_latents(pair, threshold):
    ours, left_out = our_course(
        pair[0], **{"": "first_block"}, _threshold=threshold, _start=0.0, _max_skips=1000
    )
    theirs, expected = their_course(pair[1], FirstBlockCacheConfig(threshold=threshold))
    assert left_out[:-1] == expected[:-1]
    assert not left_out[-1]
    assert 3 < sum(left_out) < NUM_STEPS - 3
    assert largest_error(torch.stack(ours[:-1]), torch.stack(theirs[:-1])) <= BOUND
