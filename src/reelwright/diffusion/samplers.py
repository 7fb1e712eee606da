"""Solvers from noise to a clean clip, each written once for every noise process.

A sampler takes a function that predicts the clean latents, and yields its state after every step; the last
state's latents are the result. Levels are (alpha, sigma); lambda is ln(alpha / sigma), infinite at both ends.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from torch import Tensor

from reelwright.diffusion.schedules import Step

PredictX0 = Callable[[Tensor, Step], Tensor]
DrawNoise = Callable[[], Tensor]
"""Noise shaped like the latents; only stochastic samplers call it."""


class State(NamedTuple):
    """Where a sampler is after a step: its latents, and the clean latents it believed in."""

    latents: Tensor
    x0: Tensor


Sampler = Callable[[PredictX0, Tensor, Sequence[Step], DrawNoise], Iterator[State]]


def euler(predict_x0: PredictX0, latents: Tensor, steps: Sequence[Step], _: DrawNoise) -> Iterator[State]:
    """DDIM without noise (arXiv 2010.02502), which is Euler's method along x0 - x."""
    for step in steps:
        x0 = predict_x0(latents, step)
        kept = step.next_level.sigma / step.level.sigma
        latents = kept * latents + (step.next_level.alpha - step.level.alpha * kept) * x0
        yield State(latents, x0)


def dpmpp_2m(predict_x0: PredictX0, latents: Tensor, steps: Sequence[Step], _: DrawNoise) -> Iterator[State]:
    """DPM-Solver++ 2M (arXiv 2211.01095, algorithm 2)."""
    history = _History()
    for step in steps:
        x0 = predict_x0(latents, step)
        estimate = history.extrapolate(x0, step)
        kept = step.next_level.sigma / step.level.sigma
        latents = kept * latents - step.next_level.alpha * math.expm1(-_width(step)) * estimate
        yield State(latents, x0)


def dpmpp_2m_sde(
    predict_x0: PredictX0, latents: Tensor, steps: Sequence[Step], draw_noise: DrawNoise
) -> Iterator[State]:
    """SDE-DPM-Solver++ 2M (arXiv 2211.01095, eq. 14)."""
    history = _History()
    for step in steps:
        x0 = predict_x0(latents, step)
        noise = draw_noise()
        estimate = history.extrapolate(x0, step)
        width = _width(step)
        kept = step.next_level.sigma / step.level.sigma * math.exp(-width)
        spread = step.next_level.sigma * math.sqrt(-math.expm1(-2.0 * width))
        latents = (
            kept * latents - step.next_level.alpha * math.expm1(-2.0 * width) * estimate + spread * noise
        )
        yield State(latents, x0)


def unipc(predict_x0: PredictX0, latents: Tensor, steps: Sequence[Step], _: DrawNoise) -> Iterator[State]:
    """UniPC of order 2 with B(h) = e^h - 1 (arXiv 2302.04867, eqs. 3, 9, 12, for clean data)."""
    history: list[tuple[Step, Tensor]] = []
    origin = latents
    for step in steps:
        x0 = predict_x0(latents, step)
        if history:
            latents = _unipc_update(origin, history, x0)
        history = [*history[-1:], (step, x0)]
        origin = latents
        first_order = len(history) == 1 or step.next_level.sigma == 0.0
        latents = _unipc_update(origin, history[-1:] if first_order else history, None)
        yield State(latents, x0)


def _unipc_update(
    latents: Tensor, history: Sequence[tuple[Step, Tensor]], arrived_x0: Tensor | None
) -> Tensor:
    """Cross the newest step: predict its end, or correct it once x0 is known there.

    history: the one or two newest steps with their x0.
    """
    step, x0 = history[-1]
    h = _width(step)
    growth = math.expm1(-h)
    kept = step.next_level.sigma / step.level.sigma
    result = kept * latents - step.next_level.alpha * growth * x0

    weight = 0.5
    if len(history) == 2:
        before, x0_before = history[0]
        ratio = (before.level.half_log_snr - step.level.half_log_snr) / h
        slope = (x0_before - x0) / ratio
        if arrived_x0 is None:
            return result - step.next_level.alpha * growth * 0.5 * slope
        first, second = _unipc_moments(h)
        slope_weight = (first - second) / (1.0 - ratio)
        weight = first - slope_weight
        result = result - step.next_level.alpha * growth * slope_weight * slope
    if arrived_x0 is None:
        return result
    return result - step.next_level.alpha * growth * weight * (arrived_x0 - x0)


def _unipc_moments(h: float) -> tuple[float, float]:
    """Right sides of the order conditions: k! phi_(k+1)(-h) / B(-h) times (-h), for k = 1, 2."""
    growth = math.expm1(-h)
    phi_2 = growth / -h - 1.0
    phi_3 = phi_2 / -h - 0.5
    return phi_2 / growth, 2.0 * phi_3 / growth


class _History:
    """The previous estimate of x0, to extrapolate along lambda to the middle of the next step."""

    def __init__(self) -> None:
        self._previous: tuple[Step, Tensor] | None = None

    def extrapolate(self, x0: Tensor, step: Step) -> Tensor:
        """Second order between the ends; first order at the first step and where the next level is clean."""
        previous, self._previous = self._previous, (step, x0)
        if previous is None or step.next_level.sigma == 0.0:
            return x0
        old_step, old_x0 = previous
        ratio = (step.level.half_log_snr - old_step.level.half_log_snr) / _width(step)
        return x0 + (x0 - old_x0) / (2.0 * ratio)


def _width(step: Step) -> float:
    return step.next_level.half_log_snr - step.level.half_log_snr


SAMPLERS: dict[str, Sampler] = {
    "ddim": euler,
    "euler": euler,
    "dpm": dpmpp_2m_sde,
    "dpmpp_2m": dpmpp_2m,
    "unipc": unipc,
}
