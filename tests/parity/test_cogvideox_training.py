"""One step of training against an independent one in float64: loss and gradients of every layout.

The reference is written from the formulas (specs: CogVideoX 3.1, 5, 6): a table of signal shares, noising and
channels of its own; diffusers' network and autoencoder with the same weights.
"""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from reelwright.families.cogvideox.checkpoints import Layout
from reelwright.families.cogvideox.latent_space import LatentSpace
from reelwright.families.cogvideox.training_channels import TrainingChannels
from reelwright.protocols.training import Example

from ..unit.cogvideox_batches import NOTHING_LEFT_OUT, batch_of, channels_of, objective_of
from .released import (
    LAYOUTS,
    SMALL_AUTOENCODER,
    reference_autoencoder,
    reference_rotary,
    reference_transformer,
    reference_velocity,
    same_autoencoder,
    same_transformer,
    scatter_norms,
)

BOUND = 1e-5
"""Largest error relative to the whole, of a loss and of gradients: ours are in float32."""
SCALE = 0.7
AUTOENCODER = replace(SMALL_AUTOENCODER, latent_channels=16, scaling_factor=SCALE)
LENGTH, HEIGHT, WIDTH = 5, 8, 12
"""Of latents: an odd number of frames, as clips have."""


def table_of_shares() -> np.ndarray:
    """Cumulative products of the scaled linear schedule, rescaled to end without signal."""
    betas = np.linspace(math.sqrt(0.00085), math.sqrt(0.012), 1000) ** 2
    roots = np.sqrt(np.cumprod(1 - betas))
    return ((roots - roots[-1]) * roots[0] / (roots[0] - roots[-1])) ** 2


class Chance:
    """The draws of one item in their order, from its seed alone."""

    def __init__(self, seed: int, shape: tuple[int, ...]) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.timestep = int(torch.rand(3, generator=self.generator, dtype=torch.float64)[0] * 1000)
        self.noise = self.normal(*shape)
        self.normal(shape[0], 1, 1, 1)

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.generator).double()


Channels = Callable[[dict[str, Tensor], list[Chance], int], Tensor]


def image_in_front(image: Tensor, frames: int) -> Tensor:
    """[B, C, H, W] in the first of the frames and nothing in the others."""
    placed = torch.zeros(*image.shape[:2], frames, *image.shape[2:], dtype=torch.float64)
    placed[:, :, 0] = image
    return placed


def front_repeated(clips: Tensor, frames: int) -> Tensor:
    return torch.cat([clips[:, :, :1]] * (frames - clips.shape[2]) + [clips], dim=2)


def reference_step(
    reference, tensors: dict[str, Tensor], seeds: tuple[int, ...], channels: Channels | None
) -> float:
    """The loss of a step in float64, whose gradients are in `reference` afterwards."""
    frames = LENGTH + LENGTH % (reference.config.patch_size_t or 1)
    clips = front_repeated(tensors["latents"].double(), frames)
    chances = [Chance(seed, tuple(clips.shape[1:])) for seed in seeds]
    shares = torch.tensor(table_of_shares()[[each.timestep for each in chances]]).view(-1, 1, 1, 1, 1)
    noise = torch.stack([each.noise for each in chances])
    noisy = shares.sqrt() * clips + (1 - shares).sqrt() * noise
    velocity = shares.sqrt() * noise - (1 - shares).sqrt() * clips
    if channels is not None:
        noisy = torch.cat([noisy, channels(tensors, chances, frames)], dim=1)
    predicted = reference_velocity.__wrapped__(
        reference,
        noisy,
        tensors["prompt_embeds"].double(),
        torch.tensor([each.timestep for each in chances]),
        reference_rotary(reference, (frames, HEIGHT, WIDTH)),
    )
    loss = ((predicted - velocity) ** 2).flatten(1).mean(1).mean()
    loss.backward()
    return loss.item()


def our_step(ours, example: Example) -> float:
    """The loss of a step as the trainer counts it, whose gradients are in `ours` afterwards."""
    predicted = ours(example.noisy_BCTHW, example.timestep_B, example.conditions).float()
    errors = (predicted - example.target_BCTHW).square().flatten(1).mean(1)
    loss = (example.weight_B * errors).sum() / len(errors)
    loss.backward()
    return loss.item()


def check_step(
    layout: str,
    tensors: dict[str, Tensor],
    channels: TrainingChannels | None = None,
    expected_channels: Channels | None = None,
) -> None:
    torch.manual_seed(0)
    config, seeds = LAYOUTS[layout], (1, 7)
    reference = reference_transformer(config).eval()
    scatter_norms(reference)
    ours = same_transformer(reference, config)
    reference.double()
    example = objective_of(config, channels=channels).example(batch_of(tensors, seeds=seeds))
    assert example.timestep_B[0] != example.timestep_B[1]
    expected = reference_step(reference, tensors, seeds, expected_channels)
    assert our_step(ours, example) == pytest.approx(expected, rel=BOUND)
    pairs = [
        (ours.patch_embedding.projection.weight, reference.patch_embed.proj.weight),
        (ours.patch_embedding.text_projection.weight, reference.patch_embed.text_proj.weight),
        (ours.blocks[0].norm1.modulation.weight, reference.transformer_blocks[0].norm1.linear.weight),
        (ours.blocks[1].attention.key.weight, reference.transformer_blocks[1].attn1.to_k.weight),
        (ours.blocks[1].feed_forward.contract.weight, reference.transformer_blocks[1].ff.net[2].weight),
        (ours.output_projection.weight, reference.proj_out.weight),
    ]
    for own, other in pairs:
        assert other.grad.norm() > 0
        assert (own.grad - other.grad).norm() <= BOUND * other.grad.norm()


def cached(layout: str, **more: Tensor) -> dict[str, Tensor]:
    """Two items as caches hold them."""
    config = LAYOUTS[layout]
    generator = torch.Generator().manual_seed(3)
    return {
        "latents": torch.randn(2, 16, LENGTH, HEIGHT, WIDTH, generator=generator),
        "prompt_embeds": torch.randn(
            2, config.max_text_seq_length, config.text_embed_dim, generator=generator
        ),
        **more,
    }


def pictures() -> Tensor:
    generator = torch.Generator().manual_seed(4)
    return torch.randint(0, 256, (2, 3, 8 * HEIGHT, 8 * WIDTH), dtype=torch.uint8, generator=generator)


def as_pixels(pictures: Tensor) -> Tensor:
    return pictures.double() / 127.5 - 1


@pytest.fixture(scope="module")
def autoencoders():
    torch.manual_seed(1)
    reference = reference_autoencoder(AUTOENCODER).eval()
    ours = same_autoencoder(reference, AUTOENCODER)
    return LatentSpace(autoencoder=ours), reference.double()


@pytest.mark.parametrize("layout", ["2b", "5b", "1.5-5b"])
def test_a_step_on_text_and_clips_is_that_of_the_reference(layout):
    check_step(layout, cached(layout))


@pytest.mark.parametrize(("layout", "scale"), [("5b-i2v", SCALE), ("1.5-5b-i2v", 1.0)])
def test_a_step_from_latents_of_images_is_that_of_the_reference(layout, scale):
    tensors = cached(layout, image_latents=torch.randn(2, 16, 1, HEIGHT, WIDTH))

    def expected(tensors: dict[str, Tensor], _: list[Chance], frames: int) -> Tensor:
        return image_in_front(tensors["image_latents"][:, :, 0].double() / SCALE * scale, frames)

    check_step(layout, tensors, channels_of(Layout.IMAGE, image_scale=scale), expected)


@pytest.mark.parametrize(("layout", "scale"), [("5b-i2v", SCALE), ("1.5-5b-i2v", 1.0)])
def test_a_step_from_noised_images_is_that_of_the_reference(layout, scale, autoencoders):
    space, exact = autoencoders
    tensors = cached(layout, first_frame=pictures(), image_latents=torch.zeros(2, 16, 1, HEIGHT, WIDTH))

    @torch.no_grad()
    def expected(tensors: dict[str, Tensor], chances: list[Chance], frames: int) -> Tensor:
        images = as_pixels(tensors["first_frame"])
        # Strength and noise of both come first: images are encoded together, and drawn one by one.
        noised = [
            image + torch.exp(-3 + 0.5 * each.normal()) * each.normal(*image.shape)
            for image, each in zip(images, chances, strict=True)
        ]
        posteriors = [exact.encode(image[None, :, None]).latent_dist for image in noised]
        drawn = [
            own.mean + own.std * each.normal(*own.mean.shape[1:])
            for own, each in zip(posteriors, chances, strict=True)
        ]
        return image_in_front(torch.cat(drawn)[:, :, 0] * scale, frames)

    channels = channels_of(Layout.IMAGE, space=space, is_noised=True, image_scale=scale)
    check_step(layout, tensors, channels, expected)


def test_a_step_under_a_control_clip_is_that_of_the_reference():
    tensors = cached("fun-5b-control", control_latents=torch.randn(2, 16, LENGTH, HEIGHT, WIDTH))

    def expected(tensors: dict[str, Tensor], _: list[Chance], frames: int) -> Tensor:
        return tensors["control_latents"].double()

    check_step("fun-5b-control", tensors, channels_of(Layout.CONTROL), expected)


def test_a_step_of_inpainting_is_that_of_the_reference(autoencoders):
    space, exact = autoencoders
    tensors = cached("fun-5b-inp", first_frame=pictures())

    @torch.no_grad()
    def expected(tensors: dict[str, Tensor], _: list[Chance], frames: int) -> Tensor:
        clip = torch.full((2, 3, 4 * frames - 3, 8 * HEIGHT, 8 * WIDTH), -1.0, dtype=torch.float64)
        clip[:, :, 0] = as_pixels(tensors["first_frame"])
        mask = image_in_front(torch.full((2, 1, HEIGHT, WIDTH), SCALE), frames)
        return torch.cat([mask, exact.encode(clip).latent_dist.mean * SCALE], dim=1)

    check_step("fun-5b-inp", tensors, channels_of(Layout.INPAINT, space=space), expected)


def test_the_last_timestep_is_noise_alone_and_asks_for_the_clean_clip():
    config, tensors = LAYOUTS["5b"], cached("5b")
    objective = objective_of(config, replace(NOTHING_LEFT_OUT, weighting="min_snr"))
    example = objective.example(batch_of(tensors), torch.tensor([1.0, 1.0]))
    assert example.timestep_B.tolist() == [999, 999]
    noise = torch.stack([Chance(seed, (16, LENGTH, HEIGHT, WIDTH)).noise for seed in (100, 101)])
    assert torch.equal(example.noisy_BCTHW, noise.float())
    assert torch.equal(example.target_BCTHW, -tensors["latents"])
    ours = same_transformer(reference_transformer(config), config)
    assert math.isfinite(our_step(ours, example))
    assert all(torch.isfinite(each.grad).all() for each in ours.parameters() if each.grad is not None)
