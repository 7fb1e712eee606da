"""Samplers on data whose denoiser is known in closed form: x0 ~ N(mean, deviation^2).

There E[x0 | x] = mean + alpha s^2 / (alpha^2 s^2 + sigma^2) (x - alpha mean), and the flow from noise to data
keeps the number of standard deviations: z at any level ends as mean + deviation z.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from reelwright.diffusion.process import CLEAN, Level
from reelwright.diffusion.samplers import FLOW_SAMPLERS, SAMPLERS, Sampler, State
from reelwright.diffusion.schedules import (
    Step,
    flow_steps,
    neighbor_steps,
    rescale_to_zero_terminal_snr,
    scaled_linear_alphas,
    spaced_timesteps,
    with_unit_signal,
)

MEAN, DEVIATION = 0.7, 0.4
ALPHAS = rescale_to_zero_terminal_snr(scaled_linear_alphas(1000, 0.00085, 0.012))
ORDER = {"ddim": 1, "dpmpp_2m": 2, "unipc": 3}
"""Halving the steps' width divides the error by 2 to this power; UniPC's corrector adds one to its order."""


def expected_x0(latents: Tensor, step: Step) -> Tensor:
    alpha, sigma = step.level
    gain = alpha * DEVIATION**2 / (alpha**2 * DEVIATION**2 + sigma**2)
    return MEAN + gain * (latents - alpha * MEAN)


def no_noise() -> Tensor:
    raise AssertionError("a deterministic sampler draws no noise")


def last_of(sampler: Sampler, latents: Tensor, steps: Sequence[Step], draw=no_noise) -> State:
    return list(sampler(expected_x0, latents, steps, draw))[-1]


def smooth_steps(count: int) -> list[Step]:
    """Even in ln(alpha / sigma), between two levels that are neither pure noise nor clean."""
    angles = [
        math.atan(math.exp(-half_log_snr)) for half_log_snr in torch.linspace(-3, 3, count + 1).tolist()
    ]
    levels = [Level(math.cos(angle), math.sin(angle)) for angle in angles]
    return [Step(0, *pair) for pair in pairwise(levels)]


def deviation_at(level: Level) -> float:
    return math.hypot(level.alpha * DEVIATION, level.sigma)


def error_of(name: str, count: int) -> float:
    """Distance from the exact flow, for one and a half deviations."""
    steps = smooth_steps(count)
    start, end = steps[0].level, steps[-1].next_level
    latents = torch.tensor(start.alpha * MEAN + 1.5 * deviation_at(start), dtype=torch.float64)
    exact = end.alpha * MEAN + 1.5 * deviation_at(end)
    return abs(last_of(SAMPLERS[name], latents, steps).latents.item() - exact)


@pytest.mark.parametrize("name", ORDER)
@pytest.mark.parametrize("count", [40, 80])
def test_the_error_of_a_solver_falls_with_its_order(name, count):
    assert error_of(name, 2 * count) < 0.012
    assert error_of(name, count) / error_of(name, 2 * count) == pytest.approx(2 ** ORDER[name], rel=0.05)


@pytest.mark.parametrize("name", ["dpmpp_2m", "unipc"])
def test_second_order_is_closer_at_the_same_number_of_steps(name):
    assert error_of(name, 20) < error_of("ddim", 20) / 3


@pytest.mark.parametrize("name", ORDER)
def test_solvers_reach_the_data_over_the_released_schedule(name):
    z = torch.tensor([-2.0, -0.5, 0.0, 1.0, 2.0], dtype=torch.float64)
    steps = neighbor_steps(ALPHAS, spaced_timesteps(500, "trailing"))
    reached = last_of(SAMPLERS[name], z, steps).latents
    torch.testing.assert_close(reached, MEAN + DEVIATION * z, atol=0.02, rtol=0)


def test_the_stochastic_sampler_reproduces_mean_and_deviation():
    generator = torch.Generator().manual_seed(0)
    count = 100_000

    def draw() -> Tensor:
        return torch.randn(count, generator=generator, dtype=torch.float64)

    steps = neighbor_steps(ALPHAS, spaced_timesteps(200, "trailing"))
    latents = last_of(SAMPLERS["dpm"], draw(), steps, draw).latents
    standard_error = DEVIATION / math.sqrt(count)
    assert latents.mean().item() == pytest.approx(MEAN, abs=5 * standard_error)
    # The last step takes what is believed to be clean, whose spread is a little smaller.
    last = steps[-1].level
    believed = last.alpha * DEVIATION**2 / deviation_at(last)
    assert believed == pytest.approx(DEVIATION, rel=0.03)
    assert latents.std().item() == pytest.approx(believed, rel=0.01)
    inside = latents.sub(MEAN).abs().lt(0.6745 * believed).double().mean().item()
    assert inside == pytest.approx(0.5, abs=0.01)


def test_the_stochastic_sampler_forgets_where_it_started():
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(20_000, generator=generator, dtype=torch.float64)
    steps = neighbor_steps(ALPHAS, spaced_timesteps(50, "trailing"))
    latents = last_of(
        SAMPLERS["dpm"], start, steps, lambda: torch.randn(20_000, generator=generator, dtype=torch.float64)
    ).latents
    correlation = torch.corrcoef(torch.stack([start, latents]))[0, 1].abs()
    assert correlation < 0.05


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("count", [1, 2, 3, 50])
def test_the_last_step_ends_on_the_clean_latents_it_believes_in(name, count):
    steps = neighbor_steps(ALPHAS, spaced_timesteps(count, "trailing"))
    states = list(SAMPLERS[name](expected_x0, torch.tensor([0.3, -1.0]), steps, lambda: torch.ones(2)))
    assert len(states) == count
    assert all(torch.isfinite(state.latents).all() for state in states)
    torch.testing.assert_close(states[-1].latents, states[-1].x0)


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_first_step_from_pure_noise_is_that_of_ddim_or_adds_its_noise(name):
    steps = neighbor_steps(ALPHAS, spaced_timesteps(10, "trailing"))
    assert steps[0].level.alpha == 0.0
    start = torch.tensor([0.3, -1.0], dtype=torch.float64)
    first = next(iter(SAMPLERS[name](expected_x0, start, steps, lambda: torch.full((2,), 0.5)))).latents
    # Nothing is known yet, so the clean latents are believed to be the mean; the rest is noise, old or fresh.
    alpha, sigma = steps[0].next_level
    rest = torch.full((2,), 0.5) if name == "dpm" else start
    torch.testing.assert_close(first, (alpha * MEAN + sigma * rest).double())


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_perfect_guess_is_kept_from_any_level(name):
    clean = torch.tensor([2.0, -3.0], dtype=torch.float64)
    steps = neighbor_steps(ALPHAS, spaced_timesteps(7, "trailing"))
    for start in range(len(steps)):
        states = SAMPLERS[name](lambda *_: clean, torch.randn(2), steps[start:], lambda: torch.randn(2))
        torch.testing.assert_close(list(states)[-1].latents, clean, atol=1e-9, rtol=0)


def test_the_stochastic_sampler_draws_once_a_step_and_no_other_draws():
    steps = neighbor_steps(ALPHAS, spaced_timesteps(7, "trailing"))
    drawn: list[int] = []

    def draw() -> Tensor:
        drawn.append(1)
        return torch.zeros(2)

    for name, sampler in SAMPLERS.items():
        drawn.clear()
        list(sampler(expected_x0, torch.zeros(2), steps, draw))
        assert len(drawn) == (7 if name == "dpm" else 0)


def test_no_steps_yield_nothing():
    assert all(
        list(sampler(expected_x0, torch.zeros(2), [], no_noise)) == [] for sampler in SAMPLERS.values()
    )


@pytest.mark.parametrize("name", SAMPLERS)
def test_samplers_leave_their_input_alone(name):
    start = torch.tensor([0.3, -1.0])
    steps = neighbor_steps(ALPHAS, spaced_timesteps(3, "trailing"))
    list(SAMPLERS[name](expected_x0, start, steps, lambda: torch.ones(2)))
    assert torch.equal(start, torch.tensor([0.3, -1.0]))


def test_euler_walks_the_straight_line_of_a_flow():
    """Levels need not keep the variance: euler also walks alpha = 1 - sigma."""
    levels = [Level(1 - sigma, sigma) for sigma in (1.0, 0.75, 0.5, 0.25)]
    steps = [Step(0, *pair) for pair in zip(levels, [*levels[1:], CLEAN], strict=True)]
    clean, noise = torch.tensor(2.0), torch.tensor(-1.0)
    states = list(SAMPLERS["euler"](lambda *_: clean, noise, steps, no_noise))
    for state, step in zip(states, steps, strict=True):
        torch.testing.assert_close(
            state.latents, step.next_level.alpha * clean + step.next_level.sigma * noise
        )


@pytest.mark.parametrize("name", ["euler", "dpmpp_2m", "unipc"])
def test_solvers_carry_a_flow_to_the_data(name):
    z = torch.tensor([-2.0, -0.5, 0.0, 1.0, 2.0], dtype=torch.float64)

    def expected(latents: Tensor, step: Step) -> Tensor:
        true = Level(1.0 - step.level.sigma, step.level.sigma)
        return expected_x0(latents, step._replace(level=true))

    reached = list(FLOW_SAMPLERS[name](expected, z, flow_steps(500, 3.0), no_noise))[-1].latents
    torch.testing.assert_close(reached, MEAN + DEVIATION * z, atol=0.02, rtol=0)


def test_the_stochastic_sampler_reproduces_mean_and_deviation_over_a_flow():
    generator = torch.Generator().manual_seed(0)
    count = 100_000

    def draw() -> Tensor:
        return torch.randn(count, generator=generator, dtype=torch.float64)

    latents = last_of(FLOW_SAMPLERS["dpm"], draw(), flow_steps(200, 3.0), draw).latents
    assert latents.mean().item() == pytest.approx(MEAN, abs=5 * DEVIATION / math.sqrt(count))
    assert latents.std().item() == pytest.approx(DEVIATION, rel=0.03)


def test_euler_is_the_same_with_true_and_unit_signal():
    steps = flow_steps(6, 7.0)
    start = torch.tensor([0.3, -1.0], dtype=torch.float64)

    def bent_x0(latents: Tensor, step: Step) -> Tensor:
        return torch.tanh(latents) * (1.0 - step.level.sigma / 2.0)

    true = list(SAMPLERS["euler"](bent_x0, start, steps, no_noise))[-1].latents
    unit = list(SAMPLERS["euler"](bent_x0, start, with_unit_signal(steps), no_noise))[-1].latents
    torch.testing.assert_close(true, unit, atol=1e-14, rtol=0)
