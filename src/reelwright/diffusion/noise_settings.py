"""How much noise training sees, and what each amount counts. No torch here: it is part of configurations."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from annotated_types import Ge, Gt, Le

from reelwright.core.errors import ConfigError

TimestepSampling = Literal[
    "inference_matched",
    "uniform",
    "sigmoid",
    "shift",
    "flux_shift",
    "flux2_shift",
    "qwen_shift",
    "krea2_shift",
    "logsnr",
    "qinglong_flux",
    "qinglong_qwen",
    "sigma",
]
Weighting = Literal["none", "logit_normal", "mode", "sigma_sqrt", "cosmap"]
Timestep = Annotated[float, Ge(0.0), Le(1000.0)]


@dataclass(frozen=True, kw_only=True)
class NoiseSettings:
    """For flows, where level t mixes (1 - t) x clean + t x noise, and a timestep is 1000 t.

    n is a draw from the normal distribution. A shift s leans levels to the noisy end: s t / (1 + (s - 1) t).
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    timestep_sampling: TimestepSampling = "inference_matched"
    """How levels are drawn. inference_matched: as often as generation visits them, for the size at hand; the
    default because what is learned is then what is used, for clips (shift 7) as for single pictures (about
    2), with no number to choose. shift: the shifted sigmoid of n, with 3 what guides recommend: more of the
    middle, for detail. sigmoid, uniform: without a shift. flux_shift, flux2_shift, qwen_shift, krea2_shift: a
    shifted sigmoid, with the shift of those models for one frame. logsnr: normal in the logarithm of signal
    to noise. qinglong_flux, qinglong_qwen: mixtures of those. sigma: as `weighting` says."""
    discrete_flow_shift: Annotated[float, Ge(0.0)] = 0.0
    """Of shift (0 is unset: 3) and of sigma (0 and 1: none)."""
    sigmoid_scale: Annotated[float, Gt(0.0)] = 1.0
    """Times n, before a sigmoid: more spreads to both ends."""
    weighting: Weighting = "none"
    """sigma_sqrt and cosmap weight the loss, by 1 / t^2 and by 2 / (pi (1 - 2t + 2t^2)). logit_normal and
    mode say which levels `sigma` draws: the sigmoid of a normal draw, or Stable Diffusion 3's curve with one
    mode."""
    logit_mean: float = 0.0
    """Of the normal draws of logit_normal, whose levels rise with it, and of logsnr, whose levels fall."""
    logit_std: Annotated[float, Gt(0.0)] = 1.0
    """Of the same draws."""
    mode_scale: Annotated[float, Ge(-1.0), Le(1.75)] = 1.29
    """Of mode: above 0 more of the middle, below 0 more of the ends."""
    min_timestep: Timestep = 0.0
    """The least noise that is trained on."""
    max_timestep: Timestep = 1000.0
    """The most noise that is trained on."""
    preserve_distribution_shape: bool = False
    """Keep within min_timestep and max_timestep by cutting off what is outside, rather than by squeezing all
    levels into that range."""
    num_timestep_buckets: Annotated[int, Ge(0)] = 0
    """Spread the levels of an epoch evenly: each of so many equally likely ranges gets equally many items.
    0 and 1 draw freely."""
    explicit_uniform: bool = False
    """Spread the levels of each step evenly: its items, on all ranks together, are drawn from equally likely
    ranges of their own, which makes losses less noisy. Best with 2, 4, 8, ... items to a step."""
    compat: bool = False
    """The numbers of musubi-tuner with its faults: the model is told 1000 t + 1; with sigma, levels are those
    of 1000 timesteps in bfloat16, weightings and limits mean the opposite end, and no shift is applied."""


def check_noise_settings(settings: NoiseSettings) -> None:
    """Raise ConfigError for settings that contradict each other or would have no effect."""
    if problems := list(_problems(settings)):
        raise ConfigError("\n".join(problems))


def _problems(settings: NoiseSettings) -> Iterator[str]:
    sampling, weighting = settings.timestep_sampling, settings.weighting
    if settings.min_timestep >= settings.max_timestep:
        yield (
            f"min_timestep: {settings.min_timestep:g} is not below max_timestep, {settings.max_timestep:g}."
            " Give a range, as 0 and 1000 for all."
        )
    is_whole = settings.max_timestep - settings.min_timestep >= 1000.0
    if settings.preserve_distribution_shape and is_whole:
        yield (
            "preserve_distribution_shape: there is nothing to cut off. Give min_timestep or max_timestep,"
            " or leave it out."
        )
    if settings.explicit_uniform and settings.num_timestep_buckets > 1:
        yield "num_timestep_buckets: explicit_uniform spreads levels already. Leave out one of them."
    if weighting in ("logit_normal", "mode") and sampling != "sigma":
        yield (
            f"weighting: {weighting} says which levels timestep_sampling sigma draws; it is {sampling}."
            " Use sigma, or the weighting none, sigma_sqrt or cosmap."
        )
    for name, (is_used, users) in _uses(settings).items():
        if getattr(settings, name) != getattr(NoiseSettings(), name) and not is_used:
            told = f"{sampling} with compat" if settings.compat else sampling
            yield f"{name}: is of {users}, and timestep_sampling is {told}. Leave it out."


def _uses(settings: NoiseSettings) -> dict[str, tuple[bool, str]]:
    """Of settings that not all samplings read: whether this one does, and which do."""
    sampling, is_sigma = settings.timestep_sampling, settings.timestep_sampling == "sigma"
    is_drawn = (is_sigma and settings.weighting == "logit_normal") or sampling in ("logsnr", "qinglong_flux")
    drawn = is_drawn, "logsnr, qinglong_flux, and sigma with the weighting logit_normal"
    is_mode = is_sigma and settings.weighting == "mode"
    is_listed = is_sigma and settings.compat
    is_unshifted = settings.discrete_flow_shift == 1.0
    return {
        "discrete_flow_shift": (
            (is_sigma and not is_listed) or sampling == "shift" or is_unshifted,
            "shift and sigma (without compat)",
        ),
        "sigmoid_scale": (sampling not in ("inference_matched", "uniform", "logsnr", "sigma"), "sigmoids"),
        "logit_mean": drawn,
        "logit_std": drawn,
        "mode_scale": (is_mode, "sigma with the weighting mode"),
        "preserve_distribution_shape": (not is_listed, "all but sigma with compat"),
        "num_timestep_buckets": (not is_listed, "all but sigma with compat"),
        "explicit_uniform": (not is_listed, "all but sigma with compat"),
    }
