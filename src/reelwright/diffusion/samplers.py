"""Solvers from noise to a clean clip, each written once for every noise process.

A sampler takes a function that predicts the clean latents, and yields its state after every step; the last
state's latents are the result. Levels are (alpha, sigma); lambda is ln(alpha / sigma), infinite at both ends.
"""

import math
import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple

from torch import Tensor

from reelwright.diffusion.schedules import Step, with_unit_signal

PredictX0 = Callable[[Tensor, Step], Tensor]
DrawNoise = Callable[[], Tensor]
"""Noise shaped like the latents; only stochastic samplers call it."""
UniPCVariant = Literal["bh1", "bh2"]


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


def unipc(
    predict_x0: PredictX0,
    latents: Tensor,
    steps: Sequence[Step],
    _: DrawNoise,
    *,
    order: int = 2,
    variant: UniPCVariant = "bh2",
) -> Iterator[State]:
    """UniPC (arXiv 2302.04867, eqs. 3, 9, 12, for clean data), of lower order until enough steps are known.

    order >= 1. variant is the paper's B(h): h (bh1) or e^h - 1 (bh2).
    """
    history: list[tuple[Step, Tensor]] = []
    origin = latents
    for step in steps:
        x0 = predict_x0(latents, step)
        if history:
            latents = _unipc_update(origin, history, x0, variant)
        history = [*history, (step, x0)][-order:]
        origin = latents
        arrives = step.next_level.sigma == 0.0
        latents = x0 if arrives else _unipc_update(origin, history, None, variant)
        yield State(latents, x0)


def flow_unipc(
    predict_x0: PredictX0, latents: Tensor, steps: Sequence[Step], draw_noise: DrawNoise
) -> Iterator[State]:
    """UniPC of order 3 with B(h) = h in -ln sigma, as released with flow models for video."""
    return unipc(predict_x0, latents, with_unit_signal(steps), draw_noise, order=3, variant="bh1")


def _unipc_update(
    latents: Tensor,
    history: Sequence[tuple[Step, Tensor]],
    arrived_x0: Tensor | None,
    variant: UniPCVariant,
) -> Tensor:
    """Cross the newest step: predict its end, or correct it once x0 is known there.

    history: the newest steps with their x0, as many as the order, oldest first.
    """
    step, x0 = history[-1]
    h = _width(step)
    distances = [(_distance(step, old) / h, old_x0 - x0) for old, old_x0 in reversed(history[:-1])]
    # The x0 of pure noise (zero terminal SNR) lies infinitely far back and says nothing of the slope here.
    known = [(distance, change) for distance, change in distances if math.isfinite(distance)]
    if arrived_x0 is not None:
        known.append((1.0, arrived_x0 - x0))
    # The paper fixes the weight of a single unknown at 1/2; else the order conditions decide, where B(h)
    # cancels.
    if len(history) == (2 if arrived_x0 is None else 1):
        weights = [0.5 * _unipc_scale(h, variant)] * len(known)
    else:
        weights = _moment_weights([distance for distance, _ in known], h)

    kept = step.next_level.sigma / step.level.sigma
    result = kept * latents - step.next_level.alpha * math.expm1(-h) * x0
    for (distance, change), weight in zip(known, weights, strict=True):
        result = result - step.next_level.alpha * weight / distance * change
    return result


def _unipc_scale(h: float, variant: UniPCVariant) -> float:
    if variant == "bh2":
        return math.expm1(-h)
    if math.isinf(h):
        raise ValueError("variant: bh1 cannot cross a step that begins in pure noise. Use bh2.")
    return -h


def _moment_weights(points: Sequence[float], h: float) -> list[float]:
    """Weights w with sum_k w_k points_k^(j-1) = j! psi_j(-h) for j = 1..n: B(h) times the paper's rho.

    Each weight is its point's Lagrange polynomial with the powers replaced by the right sides.
    """
    moments = [math.factorial(j) * _psi(j, -h) for j in range(1, len(points) + 1)]
    weights: list[float] = []
    for k, point in enumerate(points):
        polynomial = [1.0]
        for other in (*points[:k], *points[k + 1 :]):
            shifted = zip([0.0, *polynomial], [*polynomial, 0.0], strict=True)
            polynomial = [(above - other * here) / (point - other) for above, here in shifted]
        weights.append(math.fsum(map(operator.mul, polynomial, moments)))
    return weights


def _psi(j: int, z: float) -> float:
    """sum over n >= 1 of z^n / (n + j)!: psi_1 = (e^z - 1) / z - 1, psi_(j+1) = psi_j / z - 1 / (j + 1)!."""
    if abs(z) < 1.0:
        # The recurrence would lose all digits: 25 steps at shift 7 begin with z = -0.006.
        return math.fsum(z**n / math.factorial(n + j) for n in range(1, 20))
    psi = math.expm1(z) / z - 1.0
    for k in range(2, j + 1):
        psi = psi / z - 1.0 / math.factorial(k)
    return psi


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


def _distance(step: Step, other: Step) -> float:
    return other.level.half_log_snr - step.level.half_log_snr


SAMPLERS: dict[str, Sampler] = {
    "ddim": euler,
    "euler": euler,
    "dpm": dpmpp_2m_sde,
    "dpmpp_2m": dpmpp_2m,
    "unipc": unipc,
}

FLOW_SAMPLERS: dict[str, Sampler] = {**SAMPLERS, "unipc": flow_unipc}
"""For the steps of a flow; the others are the same."""
