"""How often training would see each noise level, and what it would count, as text or as a picture."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from reelwright.core.events import ConsoleText, Event, FileSaved, Finished, Notice
from reelwright.data.loader import Loader
from reelwright.media.bar_chart import draw_bars
from reelwright.media.image_ops import write_png
from reelwright.protocols.training import Batch, Objective
from reelwright.workflows.training.finding import Found

NUM_BINS = 20
ENOUGH_ITEMS = 1000
"""To see a shape."""
_LONGEST = 50
"""Signs of the longest bar."""


@dataclass(frozen=True, kw_only=True)
class LevelShares:
    """Of levels in equal ranges from 0 to 1."""

    num_items: int
    shares: tuple[float, ...]
    """How many of the items fall into each."""
    weights: tuple[float, ...]
    """What their losses count together: shares of all weights."""


def show_timesteps(found: Found) -> Iterator[Event]:
    """What a run would draw for its own data, with the seed of `found.config`; nothing is trained."""
    config = found.config
    assert config.show_timesteps != "no"
    yield from map(Notice, found.notices)
    loader = Loader(found.data.items, seed=config.seed, num_workers=max(config.execution.num_workers, 1))
    objective = found.model.objective(torch.device("cpu"), torch.float32)
    picture = config.out / f"{config.name}-timesteps.png"
    # The loader goes on to the next epoch by itself.
    yield from show_levels(lambda: loader, objective, config.show_timesteps, picture)


def show_levels(
    open_batches: Callable[[], Iterable[Batch]],
    objective: Objective,
    form: Literal["console", "image"],
    picture: Path,
) -> Iterator[Event]:
    """Text for the console, or a PNG with its place. `open_batches` gives the next epoch each time."""
    found = count_levels(open_batches, objective)
    if form == "console":
        yield ConsoleText(levels_text(found))
        return
    labels = [str(1000 * edge // NUM_BINS) for edge in range(NUM_BINS + 1)]
    picture.parent.mkdir(parents=True, exist_ok=True)
    write_png(picture, draw_bars(found.shares, labels, f"timesteps of {found.num_items} items"))
    yield FileSaved("timesteps", str(picture))
    yield Finished(({"timesteps": str(picture)},))


def count_levels(open_batches: Callable[[], Iterable[Batch]], objective: Objective) -> LevelShares:
    """Draw epoch after epoch, until there are enough items."""
    counts = torch.zeros(NUM_BINS, dtype=torch.float64)
    weights = torch.zeros_like(counts)
    for batch in chain.from_iterable(open_batches() for _ in count()):
        example = objective.example(batch)
        level_B = example.level_B.cpu()
        counts += _summed(level_B, torch.ones_like(level_B))
        weights += _summed(level_B, example.weight_B.cpu())
        if counts.sum() >= ENOUGH_ITEMS:
            break
    return LevelShares(
        num_items=int(counts.sum()),
        shares=tuple((counts / counts.sum()).tolist()),
        weights=tuple((weights / weights.sum()).tolist()),
    )


def levels_text(found: LevelShares) -> str:
    """A line for each range of timesteps: a bar of its share, and its part of the loss where that differs."""
    width, highest = 1000 // NUM_BINS, max(found.shares)
    is_weighted = max(abs(a - b) for a, b in zip(found.shares, found.weights, strict=True)) > 1e-6
    lines = [
        f"timesteps of {found.num_items} items" + (", and their part of the loss" if is_weighted else "")
    ]
    for number, (share, weight) in enumerate(zip(found.shares, found.weights, strict=True)):
        span = f"{number * width:4d}-{(number + 1) * width:<4d}"
        told = f" {weight:7.2%}" if is_weighted else ""
        lines.append(f"{span} {share:7.2%}{told} {'#' * round(_LONGEST * share / highest)}".rstrip())
    return "".join(f"{line}\n" for line in lines)


def _summed(level_B: Tensor, values_B: Tensor) -> Tensor:
    bins = (level_B * NUM_BINS).long().clamp(0, NUM_BINS - 1)
    return torch.zeros(NUM_BINS, dtype=torch.float64).index_add_(0, bins, values_B.double())
