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


_DIGITS = 16
"""Binary digits of a range of explicit uniform sampling; what is finer is drawn."""


class SpreadSettings(Protocol):
    """Settings that may ask for levels spread evenly, over an epoch or over every few items."""

    @property
    def num_timestep_buckets(self) -> int: ...

    @property
    def explicit_uniform(self) -> bool: ...


class Stratum(NamedTuple):
    """One of equally likely ranges of a distribution."""

    number: int
    num_strata: int

    def at(self, where: float) -> float:
        """The quantile at a share of the range."""
        return (self.number + where) / self.num_strata


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


def item_chances(generator: torch.Generator, stratum: Stratum | None = None) -> tuple[float, float]:
    """Two uniform numbers of an item; the second lies in its stratum, if it has one."""
    which, where = torch.rand(2, generator=generator, dtype=torch.float64).tolist()
    return (which, where) if stratum is None else (which, stratum.at(where))


def strata_of_places(
    settings: SpreadSettings, places: Sequence[int], num_places: int, *, epoch: int, seed: int
) -> list[Stratum | None]:
    """The stratum of each item, from its place among all of the epoch; None where levels are drawn freely.

    With buckets, each gets equally many items of an epoch, or one more. With explicit uniform sampling
    (arXiv 2408.06072) the items of every step have ranges of their own, whoever computes them:
    of 2, 4, 8, ... places in a row that start at a multiple of their count, each lies in another half,
    quarter, eighth, ..., in an order that chance decides, and other rows are nearly as even.
    """
    if settings.explicit_uniform:
        return [Stratum(_spread_number(place, seed, epoch), 1 << _DIGITS) for place in places]
    count = settings.num_timestep_buckets
    if count < 2:
        return [None] * len(places)
    order = _shuffled(num_places, epoch)
    return [Stratum(int(order[place]) * count // num_places, count) for place in places]


def _listed_level(settings: NoiseSettings, where: float) -> DrawnLevel:
    """As musubi-tuner has it: the density picks from a list that begins with the noisiest timestep."""
    span = settings.max_timestep - settings.min_timestep
    index = int(sigma_density(settings)(inside(where)) * span + settings.min_timestep)
    timestep = NUM_TIMESTEPS - min(index, NUM_TIMESTEPS - 1)
    return DrawnLevel(torch.tensor(timestep / NUM_TIMESTEPS).bfloat16().item(), float(timestep))


@lru_cache(maxsize=2)
def _shuffled(count: int, epoch: int) -> Tensor:
    # Which item has a place follows from the run's seed, so epochs alone need to be told apart.
    return torch.randperm(count, generator=_generator(f"timesteps {epoch}"))


def _spread_number(place: int, seed: int, epoch: int) -> int:
    """Van der Corput's sequence, the binary digits of a place in reverse, with Owen's scrambling (1995).

    Places are scrambled too, which changes the order in each row of 2, 4, 8, ... but not what it covers:
    otherwise the first item of every step would have the same range.
    """
    digits = _turned(place & (1 << _DIGITS) - 1, _turns(f"places {seed} {epoch} {place >> _DIGITS}"))
    reverse = int(f"{digits:0{_DIGITS}b}"[::-1], 2)
    return _turned(reverse, _turns(f"levels {seed} {epoch} {place >> _DIGITS}"))


def _turned(value: int, turns: bytes) -> int:
    """Each binary digit turned or not, as chance says that knows the digits before it."""
    node, turned = 1, 0
    for digit in reversed(range(_DIGITS)):
        bit = value >> digit & 1
        turned = 2 * turned + (bit ^ turns[node])
        node = 2 * node + bit
    return turned


@lru_cache(maxsize=8)
def _turns(name: str) -> bytes:
    return torch.randint(2, (1 << _DIGITS,), generator=_generator(name), dtype=torch.uint8).numpy().tobytes()


def _generator(name: str) -> torch.Generator:
    digest = hashlib.sha256(name.encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
