"""How often each noise level would be drawn in training, and what it would count: nothing is trained."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import count, islice

import torch

from reelwright.core.events import ConsoleText, Event, FileSaved, StageStarted
from reelwright.media.histogram import Histogram, histogram_picture, histogram_text
from reelwright.media.image_ops import write_png
from reelwright.protocols.train_configs import TrainConfig
from reelwright.protocols.training import Batch, Objective

_STAGE = "draw timesteps"
_NUM_DRAWS = 2000
_NUM_BATCHES = 16
"""Batches that stand for all: levels depend on the sizes of items, not on what they show."""
_NUM_RANGES = 20
_STRIDE = 0x9E3779B97F4A7C15
"""Between the seeds of an item in one round and the next."""


def show_timesteps(config: TrainConfig, objective: Objective, batches: Iterable[Batch]) -> Iterator[Event]:
    """The timesteps of the first batches over as many rounds as make a few thousand draws.

    In the terminal, or as NAME-timesteps.png in the output folder.
    """
    yield StageStarted(_STAGE)
    levels, weights = drawn_levels(objective, islice(batches, _NUM_BATCHES), _NUM_DRAWS)
    histograms = [_histogram("Timesteps by how often they are drawn", levels, torch.ones_like(weights))]
    if weights.unique().numel() > 1:
        histograms.append(_histogram("Timesteps by what they count in the loss", levels, weights))
    if config.show_timesteps == "console":
        yield ConsoleText("\n\n".join(histogram_text(each) for each in histograms))
        return
    path = config.out / f"{config.name}-timesteps.png"
    write_png(path, histogram_picture(histograms))
    yield FileSaved("timesteps", str(path))


def drawn_levels(
    objective: Objective, batches: Iterable[Batch], num_draws: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """At least so many levels from 0 to 1, and their weights, as epoch after epoch draws them."""
    kept = list(batches)
    levels: list[torch.Tensor] = []
    weights: list[torch.Tensor] = []
    for epoch in count():
        for batch in kept:
            example = objective.example(_of_epoch(batch, epoch))
            levels.append(example.level_B.cpu())
            weights.append(example.weight_B.cpu())
        if not kept or sum(map(len, levels)) >= num_draws:
            return torch.cat(levels), torch.cat(weights)
    raise AssertionError


def _of_epoch(batch: Batch, epoch: int) -> Batch:
    seeds = tuple((seed + epoch * _STRIDE) % 2**63 for seed in batch.seeds)
    return replace(batch, epoch=epoch, seeds=seeds)


def _histogram(title: str, levels: torch.Tensor, weights: torch.Tensor) -> Histogram:
    ranges = (levels * _NUM_RANGES).long().clamp(0, _NUM_RANGES - 1)
    amounts = torch.zeros(_NUM_RANGES, dtype=torch.float64).index_add(0, ranges, weights.double())
    return Histogram(title=title, first=0, last=1000, amounts=amounts.tolist())
