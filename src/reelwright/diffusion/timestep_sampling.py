"""Which noise level each training item gets: one draw per item, the same in any batch and on any rank."""

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from reelwright.diffusion.level_distributions import LatentGrid, inside, level_distribution, sigma_density
from reelwright.diffusion.noise_settings import NoiseSettings

NUM_TIMESTEPS = 1000


class HasBuckets(Protocol):
    """Settings that may ask for levels spread evenly over an epoch."""

    @property
    def num_timestep_buckets(self) -> int: ...


class DrawnLevel(NamedTuple):
    """How noisy an item is, from 0 to 1, and what the model is told."""

    level: float
    timestep: float


def draw_level(settings: NoiseSettings, grid: LatentGrid, chances: tuple[float, float]) -> DrawnLevel:
    """The level of an item. chances: two numbers in [0, 1), which of a mixture and where in it."""
    if settings.compat and settings.timestep_sampling == "sigma":
        return _listed_level(settings, chances[1])
    level = level_distribution(settings, grid).draw(*chances)
    return DrawnLevel(level, told_timestep(settings, level))


def told_timestep(settings: NoiseSettings, level: float) -> float:
    """What the model is told of a level: 1000 times it, as in generation."""
    is_late = settings.compat and settings.timestep_sampling != "sigma"
    return NUM_TIMESTEPS * level + (1.0 if is_late else 0.0)


def item_chances(
    settings: NoiseSettings, generator: torch.Generator, bucket: int | None = None
) -> tuple[float, float]:
    """Two uniform numbers of an item; with `bucket` (`buckets_of_places`) the second lies in that bucket."""
    which, where = torch.rand(2, generator=generator, dtype=torch.float64).tolist()
    return (which, where) if bucket is None else (which, (bucket + where) / settings.num_timestep_buckets)


def buckets_of_places(
    settings: HasBuckets, places: Sequence[int], num_places: int, *, epoch: int
) -> list[int | None]:
    """The bucket of each item, from its place among all of the epoch; None where levels are drawn freely.

    Over an epoch buckets get equally many items, or one more. Which item has a place follows from the run's
    seed, so places need only be told apart from epoch to epoch.
    """
    count = settings.num_timestep_buckets
    if count < 2:
        return [None] * len(places)
    order = _shuffled(num_places, epoch)
    return [int(order[place]) * count // num_places for place in places]


def _listed_level(settings: NoiseSettings, where: float) -> DrawnLevel:
    """As musubi-tuner has it: the density picks from a list that begins with the noisiest timestep."""
    span = settings.max_timestep - settings.min_timestep
    index = int(sigma_density(settings)(inside(where)) * span + settings.min_timestep)
    timestep = NUM_TIMESTEPS - min(index, NUM_TIMESTEPS - 1)
    return DrawnLevel(torch.tensor(timestep / NUM_TIMESTEPS).bfloat16().item(), float(timestep))


@lru_cache(maxsize=2)
def _shuffled(count: int, epoch: int) -> Tensor:
    digest = hashlib.sha256(f"timesteps {epoch}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
    return torch.randperm(count, generator=generator)
