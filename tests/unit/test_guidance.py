"""Guidance and its scale over the steps."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reelwright.diffusion.guidance import guidance_scales, guide, rescale
from reelwright.diffusion.schedules import spaced_timesteps

scales = st.floats(1.01, 20)
num_steps = st.integers(1, 100)


def test_guidance_moves_along_the_line_from_negative_to_positive():
    negative, positive = torch.tensor([1.0, 2.0]), torch.tensor([3.0, 2.0])
    assert torch.equal(guide(negative, positive, 0.0), negative)
    assert torch.equal(guide(negative, positive, 1.0), positive)
    assert torch.equal(guide(negative, positive, 6.0), torch.tensor([13.0, 2.0]))


@given(scales, num_steps)
def test_a_constant_scale_stays(scale, count):
    assert guidance_scales("constant", scale, spaced_timesteps(count, "trailing"), count) == [scale] * count


@given(scales, num_steps)
def test_the_ramp_rises_from_one_to_at_most_one_more_than_the_scale(scale, count):
    ramp = guidance_scales("ramp", scale, spaced_timesteps(count, "trailing"), count)
    assert ramp[0] == 1.0
    assert ramp == sorted(ramp)
    assert ramp[-1] <= 1.0 + scale


@given(scales, num_steps)
def test_the_legacy_wave_follows_the_released_formula(scale, count):
    timesteps = spaced_timesteps(count, "trailing")
    wave = guidance_scales("legacy", scale, timesteps, count)
    for found, t in zip(wave, timesteps, strict=True):
        released = 1 + scale * ((1 - math.cos(math.pi * ((count - t) / count) ** 5.0)) / 2)
        assert found == pytest.approx(released)
        assert 1.0 <= found <= 1.0 + scale


@pytest.mark.parametrize("schedule", ["constant", "ramp", "legacy"])
@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0])
def test_scales_of_one_or_less_are_off_in_every_schedule(schedule, scale):
    assert guidance_scales(schedule, scale, [999, 499], 2) == [scale, scale]


def test_rescaling_brings_back_the_spread_of_each_sample():
    generator = torch.Generator().manual_seed(0)
    positive = torch.randn(2, 4, 3, 5, 5, generator=generator, dtype=torch.float64) * torch.tensor(
        [1.0, 3.0], dtype=torch.float64
    ).view(2, 1, 1, 1, 1)
    guided = 7.0 * positive + torch.randn(2, 4, 3, 5, 5, generator=generator, dtype=torch.float64)
    assert torch.equal(rescale(guided, positive, 0.0), guided)
    whole = rescale(guided, positive, 1.0)
    for sample, wanted, given_sample in zip(whole, positive, guided, strict=True):
        assert sample.std().item() == pytest.approx(wanted.std().item())
        # Only the length changes, by one factor for the whole sample.
        torch.testing.assert_close(sample / given_sample, (sample / given_sample).mean().expand_as(sample))
    torch.testing.assert_close(rescale(guided, positive, 0.3), 0.3 * whole + 0.7 * guided)
