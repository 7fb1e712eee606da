"""Noise levels of training, against distributions in closed form."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from reelwright.core.errors import ConfigError
from reelwright.diffusion.level_distributions import LatentGrid
from reelwright.diffusion.loss_weights import loss_weight
from reelwright.diffusion.noise_settings import NoiseSettings, check_noise_settings
from reelwright.diffusion.schedules import flow_steps, shift_of_tokens
from reelwright.diffusion.timestep_sampling import (
    Stratum,
    draw_level,
    item_chances,
    strata_of_places,
    told_timestep,
)

NUM_DRAWS = 4000
DOUBT = 1e-3
"""How often a test of this kind would fail for other seeds; those here are fixed."""
KOLMOGOROV_SMIRNOV = math.sqrt(-math.log(DOUBT / 2) / (2 * NUM_DRAWS))
CLIP = LatentGrid(9, 60, 80)
PICTURE = LatentGrid(1, 80, 80)


def normal(x):
    return torch.special.ndtr(torch.as_tensor(x, dtype=torch.float64)).numpy()


def logit(x):
    return np.log(x) - np.log1p(-x)


def unshifted(x, shift):
    return x / (shift - (shift - 1) * x)


def shifted_sigmoid(shift, scale=1.0):
    return lambda x: normal(logit(unshifted(x, shift)) / scale)


def logsnr(mean, deviation):
    """t is the sigmoid of -y / 2 for a normal y."""
    return lambda x: normal((mean + 2 * logit(x)) / deviation)


def mixture(*parts):
    return lambda x: sum(weight * part(x) for weight, part in parts)


def line(tokens, most_tokens, most):
    """The shift of released image models."""
    return math.exp(np.interp(tokens, [256, most_tokens], [0.5, most]))


def one_mode(scale):
    """Of Stable Diffusion 3: 1 - u - scale (cos^2(pi u / 2) - 1 + u) for a uniform u."""
    u = np.linspace(0, 1, 200_001)
    levels = np.sort(1 - u - scale * (np.cos(np.pi * u / 2) ** 2 - 1 + u))
    return lambda x: np.searchsorted(levels, x) / len(levels)


FLUX = line(1200, 4096, 1.15)
CASES = {
    "uniform": ({}, lambda x: x),
    "sigmoid": ({"sigmoid_scale": 1.4}, shifted_sigmoid(1, 1.4)),
    "shift": ({}, shifted_sigmoid(3)),
    "shift at 5": ({"discrete_flow_shift": 5.0, "sigmoid_scale": 0.7}, shifted_sigmoid(5, 0.7)),
    "flux_shift": ({}, shifted_sigmoid(FLUX)),
    # Of 4800 tokens: beyond the end of the line, which goes on.
    "flux2_shift": ({}, shifted_sigmoid(math.exp(0.5 + 0.65 * (4800 - 256) / 3840))),
    "qwen_shift": ({}, shifted_sigmoid(line(1200, 8192, 0.9))),
    "krea2_shift": ({}, shifted_sigmoid(line(1200, 6400, 1.15))),
    "inference_matched": ({}, lambda x: unshifted(x, 7.0)),
    "logsnr": ({"logit_mean": 0.6, "logit_std": 1.5}, logsnr(0.6, 1.5)),
    "qinglong_flux": (
        {"logit_mean": -0.4},
        mixture((0.79, shifted_sigmoid(FLUX)), (0.11, logsnr(-0.4, 1)), (0.10, logsnr(5.36, 1))),
    ),
    "qinglong_qwen": (
        {},
        mixture((0.95, shifted_sigmoid(line(1200, 8192, 0.9))), (0.05, logsnr(5.36, 1))),
    ),
    "sigma": ({}, lambda x: x),
    "sigma of one normal": (
        {"weighting": "logit_normal", "logit_mean": 0.5, "logit_std": 0.8},
        lambda x: normal((logit(x) - 0.5) / 0.8),
    ),
    "sigma of one mode": ({"weighting": "mode"}, one_mode(1.29)),
    "sigma of two ends": ({"weighting": "mode", "mode_scale": -0.8}, one_mode(-0.8)),
    "sigma with a shift": ({"discrete_flow_shift": 4.0}, lambda x: unshifted(x, 4.0)),
}


EXPLICIT = NoiseSettings(explicit_uniform=True)


def numbers(settings, places, num_places, *, epoch, seed=0):
    strata = strata_of_places(settings, places, num_places, epoch=epoch, seed=seed)
    return [stratum.number for stratum in strata]


def settings_of(name):
    return NoiseSettings(timestep_sampling=name.split()[0], **CASES[name][0])


def draws(settings, grid=CLIP, seed=0):
    generator = torch.Generator().manual_seed(seed)
    chances = [item_chances(generator) for _ in range(NUM_DRAWS)]
    return np.array([draw_level(settings, grid, each).level for each in chances])


def distance(levels, distribution):
    """The largest difference between what was drawn and what should be (Kolmogorov, Smirnov)."""
    levels = np.sort(levels)
    expected, ranks = distribution(levels), np.arange(len(levels) + 1) / len(levels)
    return max(np.max(ranks[1:] - expected), np.max(expected - ranks[:-1]))


@pytest.mark.parametrize("name", CASES)
def test_levels_are_spread_as_their_formula_says(name):
    levels = draws(settings_of(name))
    assert levels.min() > 0 and levels.max() < 1
    assert distance(levels, CASES[name][1]) < KOLMOGOROV_SMIRNOV


@pytest.mark.parametrize("name", ["shift", "inference_matched", "qinglong_flux", "sigma of one mode"])
def test_a_range_of_timesteps_cuts_off_or_squeezes(name):
    squeezed = replace(settings_of(name), min_timestep=200.0, max_timestep=700.0)
    cut = replace(squeezed, preserve_distribution_shape=True)
    whole = CASES[name][1]
    below, above = whole(np.array(0.2)), whole(np.array(0.7))
    assert distance(draws(squeezed), lambda x: whole((x - 0.2) / 0.5)) < KOLMOGOROV_SMIRNOV
    levels = draws(cut)
    assert 0.2 <= levels.min() < 0.22 and 0.68 < levels.max() <= 0.7
    assert distance(levels, lambda x: (whole(x) - below) / (above - below)) < KOLMOGOROV_SMIRNOV


@pytest.mark.parametrize("grid", [CLIP, PICTURE, LatentGrid(9, 32, 32)], ids=["clip", "picture", "small"])
def test_inference_matched_levels_are_those_that_generation_visits(grid):
    settings = NoiseSettings(timestep_sampling="inference_matched")
    steps = flow_steps(25, shift_of_tokens(grid.frames * grid.height * grid.width // 4))
    for number, step in enumerate(steps[1:], start=1):
        drawn = draw_level(settings, grid, (0.0, (25 - number) / 25))
        assert drawn == pytest.approx((step.level.sigma, step.timestep), rel=1e-12)


def test_single_pictures_lean_less_to_noise_than_clips():
    assert shift_of_tokens(1600) == pytest.approx(2.0699, abs=1e-4)
    settings = NoiseSettings()
    assert draw_level(settings, PICTURE, (0.0, 0.5)).level == pytest.approx(2.0699 / 3.0699, abs=1e-4)
    assert draw_level(settings, CLIP, (0.0, 0.5)).level == pytest.approx(7 / 8)


@pytest.mark.parametrize("num_places", [3, 100, 103])
def test_buckets_get_equally_many_items_whatever_the_batches_and_ranks(num_places):
    settings = NoiseSettings(num_timestep_buckets=10)
    whole = numbers(settings, range(num_places), num_places, epoch=2)
    counts = np.bincount(whole, minlength=10)
    assert counts.max() - counts.min() <= 1
    pieces = [numbers(settings, [place], num_places, epoch=2) for place in range(num_places)]
    assert [bucket for piece in pieces for bucket in piece] == whole
    if num_places > 3:
        assert whole != sorted(whole)
        assert whole != numbers(settings, range(num_places), num_places, epoch=3)


def test_levels_of_a_bucket_stay_in_its_part_of_the_distribution():
    settings = NoiseSettings(timestep_sampling="shift", num_timestep_buckets=8)
    generator = torch.Generator().manual_seed(1)
    for bucket in range(8):
        level = draw_level(settings, CLIP, item_chances(generator, Stratum(bucket, 8))).level
        assert bucket / 8 <= CASES["shift"][1](np.array(level)) < (bucket + 1) / 8


def test_without_buckets_levels_are_drawn_freely():
    settings = NoiseSettings(num_timestep_buckets=1)
    assert strata_of_places(settings, [0, 1], 2, epoch=0, seed=0) == [None, None]


@pytest.mark.parametrize("count", [2, 8, 64])
def test_explicit_uniform_sampling_gives_each_item_of_a_step_a_range_of_its_own(count):
    places = range(40 * count)
    where = [number / 2**16 for number in numbers(EXPLICIT, places, len(places), epoch=1, seed=4)]
    for start in range(0, len(places), count):
        own = [int(each * count) for each in where[start : start + count]]
        assert sorted(own) == list(range(count))
    # And no place of a step has the same range each time: neither ranks nor accumulation favor a level.
    firsts = {int(each * count) for each in where[::count]}
    assert len(firsts) > count // 4


def test_steps_of_any_size_are_nearly_as_even():
    where = [number / 2**16 for number in numbers(EXPLICIT, range(600), 600, epoch=0)]
    means = [np.mean(where[start : start + 6]) for start in range(0, 600, 6)]
    free = np.random.default_rng(0).random((100, 6)).mean(1)
    assert np.std(means) < np.std(free) / 2


def test_explicit_uniform_sampling_is_uniform_for_each_place():
    where = [numbers(EXPLICIT, [5], 8, epoch=epoch, seed=2)[0] / 2**16 for epoch in range(150)]
    # 1.95 / sqrt(n) bounds the distance for one in a thousand.
    assert distance(np.array(where), lambda x: x) < 1.95 / 150**0.5


def test_explicit_ranges_follow_from_seed_epoch_and_place_alone():
    whole = numbers(EXPLICIT, range(12), 12, epoch=3, seed=7)
    split = [numbers(EXPLICIT, range(rank, 12, 3), 12, epoch=3, seed=7) for rank in range(3)]
    assert [split[place % 3][place // 3] for place in range(12)] == whole
    assert whole != numbers(EXPLICIT, range(12), 12, epoch=4, seed=7)
    assert whole != numbers(EXPLICIT, range(12), 12, epoch=3, seed=8)
    # Epochs longer than there are ranges begin another order.
    assert numbers(EXPLICIT, [0], 1, epoch=0) != numbers(EXPLICIT, [1 << 16], 1, epoch=0)


@pytest.mark.parametrize("name", [name for name in CASES if not name.startswith("sigma")])
def test_the_model_is_told_a_thousand_times_the_level_and_one_more_for_compatibility(name):
    settings = settings_of(name)
    drawn = draw_level(settings, CLIP, (0.3, 0.6))
    assert drawn.timestep == 1000 * drawn.level == told_timestep(settings, drawn.level)
    old = draw_level(replace(settings, compat=True), CLIP, (0.3, 0.6))
    assert old == (drawn.level, 1000 * drawn.level + 1)


def test_sigma_is_compatible_with_the_list_that_begins_at_the_noisiest_timestep():
    settings = NoiseSettings(timestep_sampling="sigma", compat=True, discrete_flow_shift=3.0)
    assert draw_level(settings, CLIP, (0.0, 0.0004)) == (1.0, 1000.0)
    assert draw_level(settings, CLIP, (0.0, 0.25)) == (0.75, 750.0)
    # 667 thousandths, in the eight bits of bfloat16.
    assert draw_level(settings, CLIP, (0.0, 0.3334)) == (0.66796875, 667.0)
    low = replace(settings, min_timestep=0.0, max_timestep=400.0)
    told = [draw_level(low, CLIP, (0.0, (k + 0.5) / 50)).timestep for k in range(50)]
    assert min(told) == 604 and max(told) == 996
    noisy = replace(settings, weighting="logit_normal", logit_mean=1.0)
    assert draw_level(noisy, CLIP, (0.0, 0.5)).timestep == 1000 - int(1000 / (1 + math.exp(-1.0)))


@pytest.mark.parametrize("level", [0.05, 0.5, 0.93, 1.0])
def test_losses_are_weighted_as_their_formulas_say(level):
    assert loss_weight("sigma_sqrt", level) == pytest.approx(1 / level**2)
    assert loss_weight("cosmap", level) == pytest.approx(2 / math.pi / (1 - 2 * level + 2 * level**2))
    for name in ("none", "logit_normal", "mode"):
        assert loss_weight(name, level) == 1.0


def test_weights_are_bounded_and_cosmap_changes_no_average():
    assert loss_weight("sigma_sqrt", 0.0) == pytest.approx(1e6)
    levels = (np.arange(1000) + 0.5) / 1000
    assert np.mean([loss_weight("cosmap", level) for level in levels]) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    ("told", "values"),
    [
        ("min_timestep: 500 is not below", {"min_timestep": 500.0, "max_timestep": 500.0}),
        ("preserve_distribution_shape: there is nothing", {"preserve_distribution_shape": True}),
        ("weighting: mode says which levels", {"weighting": "mode"}),
        ("discrete_flow_shift: is of shift and sigma", {"discrete_flow_shift": 3.0}),
        ("sigmoid_scale: is of sigmoids", {"sigmoid_scale": 2.0}),
        ("logit_mean: is of logsnr", {"timestep_sampling": "shift", "logit_mean": 1.0}),
        ("logit_std: is of logsnr", {"timestep_sampling": "sigma", "logit_std": 2.0}),
        ("mode_scale: is of sigma", {"mode_scale": 1.0}),
        (
            "num_timestep_buckets: is of all but",
            {"timestep_sampling": "sigma", "compat": True, "num_timestep_buckets": 9},
        ),
        (
            "num_timestep_buckets: explicit_uniform spreads levels already",
            {"explicit_uniform": True, "num_timestep_buckets": 9},
        ),
    ],
)
def test_settings_without_effect_are_refused(told, values):
    with pytest.raises(ConfigError, match=f"^{told}"):
        check_noise_settings(NoiseSettings(**values))


@pytest.mark.parametrize("name", CASES)
def test_settings_that_act_are_accepted(name):
    check_noise_settings(settings_of(name))
    check_noise_settings(replace(settings_of(name), discrete_flow_shift=1.0, compat=True))
