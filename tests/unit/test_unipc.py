"""UniPC of orders 1 to 3, against the published lines in 50 decimal digits, and on a known flow."""

import math
from collections.abc import Callable
from decimal import Decimal, localcontext
from functools import partial
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from reelwright.diffusion.process import CLEAN, Level
from reelwright.diffusion.samplers import FLOW_SAMPLERS, SAMPLERS, unipc
from reelwright.diffusion.schedules import (
    Step,
    flow_steps,
    neighbor_steps,
    rescale_to_zero_terminal_snr,
    scaled_linear_alphas,
    spaced_timesteps,
    with_unit_signal,
)

STARTS = [-1.7, -0.2, 0.4, 2.3]


def bent_x0(latents, sigma):
    """A denoiser that is far from linear, for tensors and for decimals alike."""
    ratio = latents * latents / (1 + latents * latents)
    return latents / (1 + sigma * sigma) + sigma * (ratio + latents / (3 + sigma)) / 2


def no_noise() -> Tensor:
    raise AssertionError("a deterministic sampler draws no noise")


def published_unipc(
    start: Decimal, sigmas: list[Decimal], order: int, scale_of: Callable[[Decimal], Decimal]
) -> Decimal:
    """The algorithm as written: lambda = -ln sigma, data prediction, the last x0 is the result."""
    x, known = start, [(sigmas[0], bent_x0(start, sigmas[0]))]
    for i in range(1, len(sigmas)):
        now, target = sigmas[i - 1], sigmas[i]
        newest = known[-1][1]
        hh = (target / now).ln()
        phi = hh.exp() - 1
        scale = scale_of(hh)
        count = min(i, order)
        r, slopes = [], []
        for sigma, x0 in reversed(known[-count:-1]):
            ratio = (now.ln() - sigma.ln()) / (now.ln() - target.ln())
            r.append(ratio)
            slopes.append((x0 - newest) / ratio)
        r.append(Decimal(1))
        psi, b = phi / hh - 1, []
        for j in range(1, count + 1):
            b.append(psi * math.factorial(j) / scale)
            psi = psi / hh - Decimal(1) / math.factorial(j + 1)
        rows = [[ratio ** Decimal(j) for ratio in r] for j in range(count)]
        base = target / now * x - phi * newest

        half = [Decimal("0.5")]
        inner = [row[:-1] for row in rows[:-1]]
        predictor = half[: count - 1] if count < 3 else solved(inner, b[:-1])
        predicted = base - scale * sum((p * s for p, s in zip(predictor, slopes, strict=True)), Decimal(0))
        arrived = bent_x0(predicted, target)
        corrector = half if count == 1 else solved(rows, b)
        slopes.append(arrived - newest)
        x = base - scale * sum((p * s for p, s in zip(corrector, slopes, strict=True)), Decimal(0))
        known.append((target, arrived))
    return known[-1][1]


def solved(rows: list[list[Decimal]], right: list[Decimal]) -> list[Decimal]:
    """Gauss-Jordan elimination."""
    table = [[*row, value] for row, value in zip(rows, right, strict=True)]
    for i, _ in enumerate(table):
        pivot = max(range(i, len(table)), key=lambda k: abs(table[k][i]))
        table[i], table[pivot] = table[pivot], table[i]
        table[i] = [value / table[i][i] for value in table[i]]
        for k, row in enumerate(table):
            if k != i:
                table[k] = [value - row[i] * own for value, own in zip(row, table[i], strict=True)]
    return [row[-1] for row in table]


SCALES: dict[str, Callable[[Decimal], Decimal]] = {"bh1": lambda hh: hh, "bh2": lambda hh: hh.exp() - 1}


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("variant", SCALES)
@pytest.mark.parametrize("count", [1, 2, 3, 4, 8, 25])
@pytest.mark.parametrize("shift", [7.0, 2.0699])
def test_unipc_is_the_published_algorithm(order, variant, count, shift):
    steps = flow_steps(count, shift)
    sampler = partial(unipc, order=order, variant=variant)
    ours = list(
        sampler(
            lambda latents, step: bent_x0(latents, step.level.sigma),
            torch.tensor(STARTS, dtype=torch.float64),
            with_unit_signal(steps),
            no_noise,
        )
    )[-1].latents
    with localcontext() as context:
        context.prec = 50
        sigmas = [Decimal(step.level.sigma) for step in steps]
        published = [published_unipc(Decimal(x), sigmas, order, SCALES[variant]) for x in STARTS]
    assert ours.tolist() == pytest.approx([float(x) for x in published], abs=1e-12)


def test_the_flow_sampler_is_order_three_with_the_first_scale():
    steps = flow_steps(8, 7.0)

    def predict(latents: Tensor, step: Step) -> Tensor:
        return bent_x0(latents, step.level.sigma)

    start = torch.tensor(STARTS, dtype=torch.float64)
    ours = list(FLOW_SAMPLERS["unipc"](predict, start, steps, no_noise))[-1].latents
    named = list(unipc(predict, start, with_unit_signal(steps), no_noise, order=3, variant="bh1"))[-1].latents
    assert torch.equal(ours, named)


def smooth_levels(count: int) -> list[Level]:
    """Even in -ln sigma from 0.9 to 0.05, with the whole of the clean clip at every level."""
    first, last = math.log(0.9), math.log(0.05)
    return [Level(1.0, math.exp(first + (last - first) * k / count)) for k in range(count + 1)]


def flow_error(order: int, count: int) -> float:
    """Distance from the exact path of x0 ~ N(0.7, 0.4^2) under a flow: 1.5 deviations stay 1.5 deviations."""
    mean, deviation = 0.7, 0.4

    def predict(latents: Tensor, step: Step) -> Tensor:
        sigma = step.level.sigma
        gain = (1 - sigma) * deviation**2 / ((1 - sigma) ** 2 * deviation**2 + sigma**2)
        return mean + gain * (latents - (1 - sigma) * mean)

    def exact(sigma: float) -> float:
        return (1 - sigma) * mean + 1.5 * math.hypot((1 - sigma) * deviation, sigma)

    levels = smooth_levels(count)
    steps = [Step(1000 * here.sigma, here, there) for here, there in pairwise(levels)]
    start = torch.tensor(exact(levels[0].sigma), dtype=torch.float64)
    end = list(unipc(predict, start, steps, no_noise, order=order, variant="bh1"))[-1].latents.item()
    return abs(end - exact(levels[-1].sigma))


@pytest.mark.parametrize(("order", "power"), [(1, 2), (2, 3), (3, 3)])
def test_the_error_falls_with_one_more_than_the_order_but_the_first_step_has_order_two(order, power):
    ratio = flow_error(order, 160) / flow_error(order, 320)
    assert ratio == pytest.approx(2**power, rel=0.1)


def test_a_higher_order_is_closer_at_the_same_number_of_steps():
    assert flow_error(3, 20) < flow_error(2, 20) < flow_error(1, 20)


@pytest.mark.parametrize("order", [2, 3])
def test_pure_noise_infinitely_far_back_is_the_limit_of_noise_very_far_back(order):
    alphas = rescale_to_zero_terminal_snr(scaled_linear_alphas(1000, 0.00085, 0.012))
    steps = neighbor_steps(alphas, spaced_timesteps(6, "trailing"))
    almost = Level(1e-300, 1.0)
    nearly = [steps[0]._replace(level=almost), *steps[1:]]

    def ends(used: list[Step]) -> Tensor:
        start = torch.tensor(STARTS, dtype=torch.float64)
        sampler = unipc(lambda x, step: bent_x0(x, step.level.sigma), start, used, no_noise, order=order)
        return list(sampler)[-1].latents

    torch.testing.assert_close(ends(steps), ends(nearly), rtol=0, atol=1e-3)
    assert torch.isfinite(ends(steps)).all()


def test_the_first_scale_is_refused_where_a_step_begins_in_pure_noise():
    steps = [Step(999, Level(0.0, 1.0), Level(0.6, 0.8)), Step(500, Level(0.6, 0.8), CLEAN)]
    with pytest.raises(ValueError, match="bh2"):
        list(unipc(lambda x, _: x, torch.ones(1), steps, no_noise, variant="bh1"))


def test_all_flow_samplers_are_those_of_other_processes_but_one():
    assert {name: s for name, s in FLOW_SAMPLERS.items() if name != "unipc"} == {
        name: s for name, s in SAMPLERS.items() if name != "unipc"
    }
