"""What chance decides about a training item: its timestep, noise and dropout (specs: CogVideoX 6)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from reelwright.core.errors import ConfigError
from reelwright.diffusion.timestep_sampling import Stratum, strata_of_places
from reelwright.families.cogvideox.config import CogVideoXNoiseConfig
from reelwright.protocols.training import Batch


@dataclass(frozen=True, kw_only=True)
class ItemDraws:
    """Of one item; it follows from the item's seed and place, not from what it is batched with."""

    timestep: int
    leaves_out_caption: bool
    leaves_out_condition: bool
    noise_CTHW: Tensor
    """float32, in CPU memory."""
    generator: torch.Generator
    """For what is drawn after all that: the noise of an image and its posterior."""


def draw_items(
    settings: CogVideoXNoiseConfig, batch: Batch, shape_CTHW: Sequence[int], num_timesteps: int
) -> list[ItemDraws]:
    """Chance is asked in one order whatever the settings, so that one of them does not change the others."""
    strata = strata_of_places(settings, batch.places, batch.num_places, epoch=batch.epoch, seed=batch.seed)
    return [
        _draw_item(settings, torch.Generator().manual_seed(seed), stratum, shape_CTHW, num_timesteps)
        for seed, stratum in zip(batch.seeds, strata, strict=True)
    ]


def at_levels(draws: Sequence[ItemDraws], levels_B: Tensor, num_timesteps: int) -> list[ItemDraws]:
    """The same draws at given levels, from 0, the first timestep, to 1, the last; with nothing left out."""
    timesteps = [round(level * (num_timesteps - 1)) for level in levels_B.tolist()]
    return [
        replace(each, timestep=timestep, leaves_out_caption=False, leaves_out_condition=False)
        for each, timestep in zip(draws, timesteps, strict=True)
    ]


def chosen_timestep(settings: CogVideoXNoiseConfig, where: float, num_timesteps: int) -> int:
    """The timestep at a quantile from 0 to 1 of their distribution; both ends of the range are drawn."""
    low, high = timestep_range(settings, num_timesteps)
    if settings.timestep_sampling == "logit_normal":
        normal = torch.special.ndtri(torch.tensor(where, dtype=torch.float64))
        where = torch.sigmoid(settings.logit_mean + settings.logit_std * normal).item()
    return min(low + int(where * (high - low + 1)), high)


def timestep_range(settings: CogVideoXNoiseConfig, num_timesteps: int) -> tuple[int, int]:
    """The lowest and the highest timestep. Raises ConfigError for a range that is none."""
    low, high = settings.min_timestep, settings.max_timestep or num_timesteps - 1
    if not low <= high < num_timesteps:
        raise ConfigError(
            f"noise.min_timestep, noise.max_timestep: {low} to {high} is no range of timesteps, which go from"
            f" 0 to {num_timesteps - 1}."
        )
    return low, high


def loss_weight(settings: CogVideoXNoiseConfig, alpha: float) -> float:
    """What the mean squared error of a velocity counts, at a squared signal share.

    An error of velocities is SNR + 1 times one of clean clips, which arXiv 2303.09556 weights with
    min(SNR, gamma); with SNR = alpha / (1 - alpha) their quotient needs no division.
    """
    if settings.weighting == "none":
        return 1.0
    return min(alpha, settings.min_snr_gamma * (1.0 - alpha))


def _draw_item(
    settings: CogVideoXNoiseConfig,
    generator: torch.Generator,
    stratum: Stratum | None,
    shape_CTHW: Sequence[int],
    num_timesteps: int,
) -> ItemDraws:
    where, caption, condition = torch.rand(3, generator=generator, dtype=torch.float64).tolist()
    if stratum is not None:
        where = stratum.at(where)
    noise = torch.randn(tuple(shape_CTHW), generator=generator)
    shift = torch.randn((shape_CTHW[0], 1, 1, 1), generator=generator)
    return ItemDraws(
        timestep=chosen_timestep(settings, where, num_timesteps),
        leaves_out_caption=caption < settings.caption_dropout,
        leaves_out_condition=condition < settings.condition_dropout,
        noise_CTHW=noise + settings.noise_offset * shift,
        generator=generator,
    )
