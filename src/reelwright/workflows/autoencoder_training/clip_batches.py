"""Batches of pixels in the order of the stages: any of them follows from the seed and its number alone."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reelwright.core.ahead import run_ahead
from reelwright.core.errors import ConfigError
from reelwright.protocols.autoencoder_train_configs import AutoencoderTrainConfig
from reelwright.protocols.training import Batch
from reelwright.workflows.autoencoder_training.frames import FrameStore
from reelwright.workflows.autoencoder_training.supply import StageSupply, Supply

PIXELS = "pixels"
"""Of a batch: uint8 [B, F, H, W, 3]."""
_GIGABYTE = 2**30


@dataclass(frozen=True, kw_only=True)
class Place:
    """One batch of a run."""

    stage: int
    number: int
    """Among the batches of its kind in its stage, of all processes, from 0."""
    is_single: bool
    """Whether it is of single frames."""


class ClipBatches:
    """The batches of all stages as one epoch; it fits any number of processes."""

    def __init__(
        self,
        supply: Supply,
        stages: Sequence[StageSupply],
        config: AutoencoderTrainConfig,
        *,
        rank: int = 0,
        num_ranks: int = 1,
        num_ahead: int = 4,
    ) -> None:
        self._supply, self._stages, self._config = supply, stages, config
        self._rank, self._num_ranks = rank, num_ranks
        self._num_ahead = num_ahead
        self._store = FrameStore(int(config.memory * _GIGABYTE))
        self._starts = stage_starts(config)
        self._done = 0

    def __len__(self) -> int:
        return self._config.steps * self._config.accumulation

    @property
    def epoch(self) -> int:
        return int(self._done >= len(self))

    def __iter__(self) -> Iterator[Batch]:
        workers = max(self._config.execution.num_workers, 1)
        numbers = range(self._done, len(self))
        with closing(
            run_ahead(self._read, numbers, num_workers=workers, num_ahead=self._num_ahead)
        ) as upcoming:
            for number, batch in upcoming:
                ready = batch.result()
                self._done = number + 1
                yield ready

    def state_dict(self) -> dict[str, Any]:
        return {
            "seed": self._config.seed,
            "steps_done": self._done // self._config.accumulation,
            "items": self._supply.identity,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where the state was taken. Raises ConfigError if other batches would follow."""
        if state["items"] != self._supply.identity:
            raise ConfigError(
                "dataset: holds other clips and pictures than when the run was stopped. Resume with the same,"
                " or start a new run from its weights with --vae."
            )
        if state["seed"] != self._config.seed:
            raise ConfigError(
                f"seed: {self._config.seed} gives other batches than {state['seed']}, with which the run"
                f" began. Resume with seed {state['seed']}."
            )
        self._done = int(state["steps_done"]) * self._config.accumulation

    def place(self, number: int) -> Place:
        """Which batch the process takes as its `number`th, from 0."""
        step, within = divmod(number, self._config.accumulation)
        stage = sum(start <= step for start in self._starts) - 1
        local = ((step - self._starts[stage]) * self._config.accumulation + within) * self._num_ranks
        local += self._rank
        share = self._config.image_share if self._config.stages[stage].frames > 1 else 0.0
        # Spread evenly: batch n is of single frames where the share of n + 1 batches makes another one.
        singles = _share_of(local, share)
        is_single = _share_of(local + 1, share) > singles
        return Place(stage=stage, number=singles if is_single else local - singles, is_single=is_single)

    def _read(self, number: int) -> Batch:
        place = self.place(number)
        stage, supply = self._config.stages[place.stage], self._stages[place.stage]
        num_frames = 1 if place.is_single else stage.frames
        pool = supply.pictures if place.is_single else supply.clips
        use = f"{self._config.seed} {place.stage} {'single' if place.is_single else 'clip'}"
        drawn = draw(pool, use, place.number * stage.batch_size, stage.batch_size)
        pixels = [self._cut(place.stage, index, f"{use} {turn} {index}", num_frames) for index, turn in drawn]
        return Batch(
            epoch=0,
            number=number,
            names=tuple(self._supply.sources[index].source.media for index, _ in drawn),
            group=f"{num_frames} frames of {stage.width}x{stage.height}",
            tensors={PIXELS: torch.stack(pixels)},
            lists={},
            seeds=tuple(hashed(f"{use} {turn} {index} noise") for index, turn in drawn),
            places=tuple(range(len(drawn))),
            num_places=len(drawn),
        )

    def _cut(self, number: int, index: int, use: str, num_frames: int) -> Tensor:
        """A stretch of a source for a stage, at a drawn time and a drawn place."""
        stage, size = self._config.stages[number], self._stages[number].covering[index]
        source = self._supply.sources[index]
        start = hashed(f"{use} start") % (source.num_frames - num_frames + 1)
        frames = self._store.stretch(number, index, source, size, start, num_frames)
        left = hashed(f"{use} left") % (size[0] - stage.width + 1)
        top = hashed(f"{use} top") % (size[1] - stage.height + 1)
        return frames[:, top : top + stage.height, left : left + stage.width]


def stage_starts(config: AutoencoderTrainConfig) -> list[int]:
    """The steps, from 0, at which stages begin."""
    return [0, *accumulate(stage.steps for stage in config.stages[:-1])]


def draw(pool: Sequence[int], use: str, first: int, count: int) -> list[tuple[int, int]]:
    """Members `first` to `first + count` of the pool in one random order after the other.

    Each comes with the number of the order that it is of.
    """
    drawn: list[tuple[int, int]] = []
    while len(drawn) < count:
        turn, within = divmod(first + len(drawn), len(pool))
        order = shuffled(len(pool), f"{use} order {turn}")[within : within + count - len(drawn)]
        drawn += [(pool[place], turn) for place in order]
    return drawn


def shuffled(count: int, use: str) -> list[int]:
    """The numbers below `count` in an order that follows from `use` alone, whatever the version of numpy."""
    bits = np.random.PCG64(hashed(use)).random_raw(count)
    order: list[int] = np.argsort(bits, kind="stable").tolist()
    return order


def hashed(use: str) -> int:
    """63 bits that follow from `use`."""
    return int.from_bytes(hashlib.sha256(use.encode()).digest()[:8], "little") >> 1


def _share_of(count: int, share: float) -> int:
    return int(count * share + 1e-9)
