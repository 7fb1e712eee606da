"""Noise levels and timesteps, against the formulas of the papers in numpy."""

import math
from itertools import pairwise

import numpy
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reelwright.diffusion.process import CLEAN, FLOW, V_PREDICTION, Level, add_noise
from reelwright.diffusion.schedules import (
    flow_steps,
    neighbor_steps,
    released_steps,
    rescale_to_zero_terminal_snr,
    scaled_linear_alphas,
    shift_of_tokens,
    shift_snr,
    spaced_timesteps,
    with_unit_signal,
)

ALPHAS = rescale_to_zero_terminal_snr(scaled_linear_alphas(1000, 0.00085, 0.012))
counts = st.integers(1, 1000)


def test_alphas_are_products_over_roots_that_are_evenly_spaced():
    betas = numpy.linspace(math.sqrt(0.00085), math.sqrt(0.012), 1000) ** 2
    numpy.testing.assert_allclose(
        scaled_linear_alphas(1000, 0.00085, 0.012), numpy.cumprod(1 - betas), rtol=1e-12
    )


@given(st.floats(0.1, 10))
def test_a_shift_divides_every_signal_to_noise_ratio(scale):
    alphas = scaled_linear_alphas(100, 0.00085, 0.012).numpy()
    shifted = shift_snr(torch.from_numpy(alphas), scale).numpy()
    numpy.testing.assert_allclose(shifted / (1 - shifted), alphas / (1 - alphas) / scale, rtol=1e-9)


def test_rescaling_keeps_the_first_level_and_ends_in_pure_noise():
    alphas = scaled_linear_alphas(1000, 0.00085, 0.012)
    rescaled = rescale_to_zero_terminal_snr(alphas)
    assert rescaled[0].item() == pytest.approx(alphas[0].item(), rel=1e-12)
    assert rescaled[-1].item() == 0.0
    assert (rescaled.diff() < 0).all()
    # Square roots are moved along a straight line.
    roots, moved = alphas.sqrt(), rescaled.sqrt()
    slopes = moved.diff() / roots.diff()
    torch.testing.assert_close(slopes, slopes[0].expand_as(slopes), rtol=1e-9, atol=0)


@given(counts, st.sampled_from(["trailing", "leading", "linspace"]))
def test_timesteps_fall_and_are_as_many_as_asked_for(num_steps, spacing):
    timesteps = spaced_timesteps(num_steps, spacing)
    assert len(timesteps) == num_steps
    assert all(later < earlier for earlier, later in pairwise(timesteps))
    assert 0 <= timesteps[-1] <= timesteps[0] <= 999


@pytest.mark.parametrize(
    ("spacing", "expected"),
    [
        ("trailing", [999, 749, 499, 249]),
        ("leading", [750, 500, 250, 0]),
        ("linspace", [999, 666, 333, 0]),
    ],
)
def test_spacings_are_those_of_the_paper(spacing, expected):
    assert spaced_timesteps(4, spacing) == expected


def test_an_offset_moves_leading_timesteps():
    assert spaced_timesteps(2, "leading", offset=1) == [501, 1]


def test_one_step_starts_from_pure_noise_where_the_spacing_promises_it():
    assert spaced_timesteps(1, "trailing") == [999]
    assert spaced_timesteps(1, "linspace") == [0]


@pytest.mark.parametrize("num_steps", [0, -1, 1001])
def test_impossible_numbers_of_steps_are_refused(num_steps):
    with pytest.raises(ValueError, match="num_steps"):
        spaced_timesteps(num_steps, "trailing")


@given(counts)
def test_every_step_begins_where_the_one_before_ended_and_the_last_ends_clean(num_steps):
    steps = neighbor_steps(ALPHAS, spaced_timesteps(num_steps, "trailing"))
    assert all(before.next_level == after.level for before, after in pairwise(steps))
    assert steps[-1].next_level == CLEAN
    assert steps[0].level == Level(0.0, 1.0)


@given(counts)
def test_levels_keep_the_variance(num_steps):
    for step in neighbor_steps(ALPHAS, spaced_timesteps(num_steps, "trailing")):
        assert step.level.alpha**2 + step.level.sigma**2 == pytest.approx(1.0, abs=1e-12)
        assert step.level.alpha**2 == pytest.approx(ALPHAS[step.timestep].item(), abs=1e-12)


@given(st.sampled_from([n for n in range(1, 1001) if 1000 % n == 0]))
def test_the_released_arithmetic_is_right_where_steps_divide_a_thousand(num_steps):
    timesteps = spaced_timesteps(num_steps, "trailing")
    assert released_steps(ALPHAS, timesteps, num_steps) == neighbor_steps(ALPHAS, timesteps)


def test_half_the_log_of_the_signal_to_noise_ratio_is_infinite_at_both_ends():
    assert Level(0.0, 1.0).half_log_snr == -math.inf
    assert CLEAN.half_log_snr == math.inf
    assert Level(0.6, 0.8).half_log_snr == pytest.approx(math.log(0.75))


@given(st.integers(0, 999), st.integers(0, 2**16))
def test_clean_latents_are_found_again_from_their_velocity(timestep, seed):
    torch.manual_seed(seed)
    x0, noise = torch.randn(2, 8, dtype=torch.float64)
    alpha = ALPHAS[timestep].item()
    level = Level(math.sqrt(alpha), math.sqrt(1 - alpha))
    velocity = V_PREDICTION.target(x0, noise, level)
    noisy = add_noise(x0, noise, level)
    torch.testing.assert_close(V_PREDICTION.predict_x0(noisy, velocity, level), x0, atol=1e-12, rtol=0)
    # The velocity is how the mixture changes along the circle from data to noise.
    turned = 1e-6
    angle = math.atan2(level.sigma, level.alpha) + turned
    ahead = add_noise(x0, noise, Level(math.cos(angle), math.sin(angle)))
    torch.testing.assert_close((ahead - noisy) / turned, velocity, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("width", "height", "num_latents", "log_shift", "shift"),
    [
        (640, 640, 9, 1.9459, 7.0),
        (480, 832, 9, 1.9459, 7.0),
        (256, 256, 9, 0.8467, 2.3319),
        (320, 320, 9, 1.0660, 2.9039),
        (640, 640, 1, 0.7275, 2.0699),
        (832, 480, 1, 0.7207, 2.0559),
        (1024, 1024, 1, 1.15, 3.1582),
    ],
)
def test_shifts_are_the_published_ones(width, height, num_latents, log_shift, shift):
    found = shift_of_tokens(num_latents * (width // 8) * (height // 8) // 4)
    assert math.log(found) == pytest.approx(log_shift, abs=5e-5)
    assert found == pytest.approx(shift, abs=5e-5)


def test_the_shift_stops_growing_at_seven():
    assert shift_of_tokens(8797) < shift_of_tokens(8798) <= 7.0
    assert shift_of_tokens(8799) == shift_of_tokens(10**6) == 7.0


def test_sigmas_of_a_flow_are_the_published_ones():
    published = (
        "1.0 .9941 .9877 .9809 .9735 .9655 .9568 .9474 .9370 .9256 .9130 .8991 .8835 .8660 .8462 .8235 .7975 "
        ".7671 .7313 .6885 .6364 .5714 .4884 .3784 .2258 0"
    )
    steps = flow_steps(25, 7.0)
    sigmas = [step.level.sigma for step in steps] + [steps[-1].next_level.sigma]
    assert sigmas == pytest.approx([float(sigma) for sigma in published.split()], abs=5e-5)
    assert [step.timestep for step in steps] == pytest.approx([1000 * sigma for sigma in sigmas[:-1]])


flows = st.builds(flow_steps, st.integers(1, 100), st.floats(0.1, 20), strength=st.floats(0.01, 1.0))


@given(flows)
def test_a_flow_falls_from_its_strength_to_a_clean_clip(steps):
    assert all(before.next_level == after.level for before, after in pairwise(steps))
    assert all(step.next_level.sigma < step.level.sigma for step in steps)
    assert all(step.level.alpha + step.level.sigma == 1.0 for step in steps)
    assert steps[-1].next_level == CLEAN


@given(st.integers(1, 50), st.floats(0.1, 20), st.floats(0.01, 1.0))
def test_strength_scales_every_sigma(count, shift, strength):
    whole = [step.level.sigma for step in flow_steps(count, shift)]
    part = [step.level.sigma for step in flow_steps(count, shift, strength=strength)]
    assert whole[0] == 1.0
    assert part == pytest.approx([strength * sigma for sigma in whole], rel=1e-12)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"num_steps": 0, "shift": 1.0}, "num_steps"),
        ({"num_steps": 1, "shift": 0.0}, "shift"),
        ({"num_steps": 1, "shift": 1.0, "strength": 0.0}, "strength"),
        ({"num_steps": 1, "shift": 1.0, "strength": 1.1}, "strength"),
    ],
)
def test_impossible_flows_are_refused(arguments, name):
    with pytest.raises(ValueError, match=name):
        flow_steps(**arguments)


@given(flows, st.integers(0, 2**16))
def test_clean_latents_of_a_flow_are_found_again_with_true_or_unit_signal(steps, seed):
    torch.manual_seed(seed)
    x0, noise = torch.randn(2, 8, dtype=torch.float64)
    velocity = FLOW.target(x0, noise, CLEAN)
    for true, unit in zip(steps, with_unit_signal(steps), strict=True):
        noisy = add_noise(x0, noise, true.level)
        torch.testing.assert_close(add_noise(x0, velocity, unit.level), noisy, atol=1e-12, rtol=0)
        for level in (true.level, unit.level):
            torch.testing.assert_close(FLOW.predict_x0(noisy, velocity, level), x0, atol=1e-12, rtol=0)
        assert unit.timestep == true.timestep
        assert unit.level.half_log_snr == pytest.approx(-math.log(true.level.sigma))
