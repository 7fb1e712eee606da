"""Distributions of noise levels, each written as its quantiles: level t(u), rising, for u from 0 to 1.

So a draw is one uniform number, an even spread over an epoch is an even spread of u, and a cut-off range is
a range of u.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from statistics import NormalDist
from typing import NamedTuple

from reelwright.diffusion.noise_settings import NoiseSettings, TimestepSampling
from reelwright.diffusion.schedules import shift_of_tokens

_USUAL_SHIFT = 3.0
_SMALLEST = 2.0**-53
_NOISY_LOGSNR = (5.36, 1.0)
"""Mean and deviation of the second logsnr in the mixtures: levels near to clean."""

_IMAGE_MODELS = {
    "flux_shift": (2, 4096, 1.15),
    "flux2_shift": (1, 4096, 1.15),
    "qwen_shift": (2, 8192, 0.9),
    "krea2_shift": (2, 6400, 1.15),
}
"""Cells of a token's side, and where the line ends that begins with 0.5 at 256 tokens of one frame: the shift
is its exponential."""

Quantile = Callable[[float], float]


class LatentGrid(NamedTuple):
    """Latents of one item, in cells."""

    frames: int
    height: int
    width: int


@dataclass(frozen=True)
class LevelDistribution:
    """A mixture of distributions, squeezed into a range or cut off at its ends."""

    parts: tuple[tuple[float, Quantile], ...]
    """Weight and quantiles of each."""
    least: float
    most: float
    is_cut: bool

    def draw(self, which: float, where: float) -> float:
        """The level at two uniform numbers."""
        index = _pick([weight for weight, _ in self._kept], which)
        _, (start, end) = self._kept[index]
        level = self.parts[index][1](inside(start + where * (end - start)))
        if self.is_cut:
            return min(max(level, self.least), self.most)
        return self.least + (self.most - self.least) * level

    @cached_property
    def _kept(self) -> list[tuple[float, tuple[float, float]]]:
        """Of each part its weight and the range of u that stay, if the distribution is cut."""
        if not self.is_cut:
            return [(weight, (0.0, 1.0)) for weight, _ in self.parts]
        ends = [(_share_below(part, self.least), _share_below(part, self.most)) for _, part in self.parts]
        return [(weight * (b - a), (a, b)) for (weight, _), (a, b) in zip(self.parts, ends, strict=True)]


@lru_cache(maxsize=64)
def level_distribution(settings: NoiseSettings, grid: LatentGrid) -> LevelDistribution:
    return LevelDistribution(
        parts=_parts(settings, grid),
        least=settings.min_timestep / 1000.0,
        most=settings.max_timestep / 1000.0,
        is_cut=settings.preserve_distribution_shape,
    )


def _parts(settings: NoiseSettings, grid: LatentGrid) -> tuple[tuple[float, Quantile], ...]:
    own_logsnr = _logsnr(settings.logit_mean, settings.logit_std)
    noisy_logsnr = _logsnr(*_NOISY_LOGSNR)
    match settings.timestep_sampling:
        case "qinglong_flux":
            shifted = _shifted_sigmoid(settings, "flux_shift", grid)
            return (0.79, shifted), (0.11, own_logsnr), (0.10, noisy_logsnr)
        case "qinglong_qwen":
            return (0.95, _shifted_sigmoid(settings, "qwen_shift", grid)), (0.05, noisy_logsnr)
        case "logsnr":
            return ((1.0, own_logsnr),)
        case "uniform" | "inference_matched" | "sigma":
            return ((1.0, _shifted_density(settings, grid)),)
        case name:
            return ((1.0, _shifted_sigmoid(settings, name, grid)),)


def shift_level(level: float, shift: float) -> float:
    """Lean a level to the noisy end, for larger latents (arXiv 2403.03206, eq. 23)."""
    return shift * level / (1.0 + (shift - 1.0) * level)


def shift_of_sampling(name: TimestepSampling, settings: NoiseSettings, grid: LatentGrid) -> float:
    """How far one leans to the noisy end; 1 is not at all."""
    if name == "inference_matched":
        return shift_of_tokens(grid.frames * grid.height * grid.width // 4)
    if name == "shift":
        return settings.discrete_flow_shift or _USUAL_SHIFT
    if name not in _IMAGE_MODELS:
        return 1.0
    side, most_tokens, most = _IMAGE_MODELS[name]
    tokens = (grid.height // side) * (grid.width // side)
    return math.exp(0.5 + (most - 0.5) * (tokens - 256) / (most_tokens - 256))


def _shifted_sigmoid(settings: NoiseSettings, name: TimestepSampling, grid: LatentGrid) -> Quantile:
    shift, scale = shift_of_sampling(name, settings, grid), settings.sigmoid_scale
    return lambda u: shift_level(_sigmoid(scale * _normal(u)), shift)


def _shifted_density(settings: NoiseSettings, grid: LatentGrid) -> Quantile:
    """Levels that are spread evenly or, for sigma, as a density of its own says, and then shifted."""
    if settings.timestep_sampling != "sigma":
        shift = shift_of_sampling(settings.timestep_sampling, settings, grid)
        return lambda u: shift_level(u, shift)
    shift, density = settings.discrete_flow_shift or 1.0, sigma_density(settings)
    return lambda u: shift_level(density(u), shift)


def _logsnr(mean: float, deviation: float) -> Quantile:
    """The logarithm of signal to noise is normal; it falls as the level rises."""
    return lambda u: _sigmoid((deviation * _normal(u) - mean) / 2.0)


def sigma_density(settings: NoiseSettings) -> Quantile:
    """Densities of Stable Diffusion 3 (arXiv 2403.03206, 3.1), as levels."""
    mean, deviation, scale = settings.logit_mean, settings.logit_std, settings.mode_scale
    match settings.weighting:
        case "logit_normal":
            return lambda u: _sigmoid(mean + deviation * _normal(u))
        case "mode":
            return lambda u: u - scale * (math.sin(math.pi * u / 2.0) ** 2 - u)
        case _:
            return float


def _share_below(quantile: Quantile, level: float) -> float:
    """Which u has this level: how much of the distribution lies below."""
    if level <= 0.0 or level >= 1.0:
        return 0.0 if level <= 0.0 else 1.0
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2.0
        low, high = (middle, high) if quantile(inside(middle)) < level else (low, middle)
    return high


def _pick(weights: Sequence[float], which: float) -> int:
    """The part that a uniform number falls on."""
    left = which * sum(weights)
    for index, weight in enumerate(weights):
        if left < weight:
            return index
        left -= weight
    return len(weights) - 1


def _normal(u: float) -> float:
    return NormalDist().inv_cdf(inside(u))


def inside(u: float) -> float:
    """Neither 0 nor 1, where normal draws are infinite."""
    return min(max(u, _SMALLEST), 1.0 - _SMALLEST)


def _sigmoid(value: float) -> float:
    return 1.0 / (1.0 + math.exp(-value)) if value >= 0.0 else math.exp(value) / (1.0 + math.exp(value))
