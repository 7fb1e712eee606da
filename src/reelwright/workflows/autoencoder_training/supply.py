"""The sources that an autoencoder learns from, and which of them a stage can use."""

import hashlib
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from reelwright.core.ahead import run_ahead
from reelwright.core.errors import ConfigError, FileError
from reelwright.data.clips import resampled_length
from reelwright.data.media_facts import MediaLedger
from reelwright.data.sources import all_sources
from reelwright.data.sources.listing import Listed
from reelwright.media.geometry import Size, cover_crop_box
from reelwright.protocols.autoencoder_train_configs import AutoencoderStageConfig, AutoencoderTrainConfig
from reelwright.protocols.clips import Clip, ClipRule, MediaFacts, Source
from reelwright.protocols.datasets import DatasetConfig
from reelwright.workflows.caching.datasets import open_datasets, open_ledger

_READERS = 4
"""Media that are looked at side by side: hashing waits for the disk."""


@dataclass(frozen=True, kw_only=True)
class Supplied:
    """One source, and what it is at the rate that it is read at."""

    source: Source
    facts: MediaFacts
    dataset: DatasetConfig
    num_frames: int
    fps: float

    def clip(self, start: int, num_frames: int, size: Size) -> Clip:
        """A stretch of it, in which frames cover the size and are cut to it."""
        is_picture = self.source.kind == "image"
        return Clip(
            source=self.source,
            facts=self.facts,
            start=start,
            num_frames=num_frames,
            size=size,
            fps=0.0 if is_picture else self.fps,
            source_fps=self.dataset.source_fps or (None if self.facts.duration else self.fps or None),
            trim_seconds=self.dataset.trim_seconds,
        )


@dataclass(frozen=True, kw_only=True)
class Supply:
    """All sources of a file of data sets, in a fixed order; those that come several times do so here."""

    path: Path
    sources: tuple[Supplied, ...]

    @property
    def identity(self) -> str:
        """Tells these sources, in this order, from all others."""
        digest = hashlib.sha256()
        for each in self.sources:
            digest.update(f"{each.facts.content} {each.num_frames} {each.fps:g}\n".encode())
        return digest.hexdigest()[:16]


@dataclass(frozen=True, kw_only=True)
class StageSupply:
    """The sources of a stage, by their place in the supply."""

    clips: tuple[int, ...]
    """Those that are long enough."""
    pictures: tuple[int, ...]
    """Those whose single frames are learned from."""
    covering: Mapping[int, Size]
    """Of each source, the size that its frames have before they are cut."""


def open_supply(path: Path | None, rule: ClipRule) -> Supply:
    """Look at all media of a file of data sets, or of a folder. Raises UserError with all that is wrong."""
    datasets = open_datasets(path)
    listed = [(each, dataset) for dataset in datasets.datasets for each in all_sources(dataset)]
    found: list[Supplied] = []
    problems: list[str] = []
    with closing(open_ledger()) as ledger:

        def look(item: tuple[Listed, DatasetConfig]) -> Supplied:
            return _supplied(*item, rule, ledger)

        looked_at = run_ahead(look, listed, num_workers=_READERS, num_ahead=4 * _READERS)
        with closing(looked_at):
            for (_, dataset), looked in looked_at:
                try:
                    found += [looked.result()] * dataset.num_repeats
                except FileError as error:
                    problems.append(str(error))
    if problems:
        raise FileError("\n".join(problems))
    return Supply(path=datasets.path, sources=tuple(found))


def _supplied(listed: Listed, dataset: DatasetConfig, rule: ClipRule, ledger: MediaLedger) -> Supplied:
    if isinstance(listed, FileError):
        raise listed
    facts = ledger.facts(listed)
    is_picture = listed.kind == "image"
    return Supplied(
        source=listed,
        facts=facts,
        dataset=dataset,
        num_frames=1 if is_picture else resampled_length(facts, dataset, rule),
        fps=dataset.target_fps or rule.fps,
    )


def plan_stage(supply: Supply, config: AutoencoderTrainConfig, number: int) -> tuple[StageSupply, list[str]]:
    """What a stage, from 0, can use, and what to say of the rest. Raises ConfigError if that is nothing."""
    stage = config.stages[number]
    large = [index for index, each in enumerate(supply.sources) if _is_usable(each, config, stage)]
    long = [index for index in large if supply.sources[index].num_frames >= stage.frames]
    pictures = [index for index in large if supply.sources[index].source.kind == "image"]
    wanted = f"{stage.frames} frames of {stage.width}x{stage.height}"
    if not long:
        raise ConfigError(
            f"stages.{number}: no source of {supply.path} gives {wanted}. {largest(supply, config)}"
        )
    notices: list[str] = []
    if left_out := len(supply.sources) - len(set(long) | set(pictures)):
        notices.append(f"stages.{number}: {left_out} of {len(supply.sources)} sources do not give {wanted}.")
    covering = {index: _covering(supply.sources[index], config, stage) for index in large}
    enlarged = sum(covering[index] > supply.sources[index].facts.size for index in long)
    if enlarged:
        notices.append(f"stages.{number}: {enlarged} sources are smaller than {wanted} and are enlarged.")
    return StageSupply(clips=tuple(long), pictures=tuple(pictures or large), covering=covering), notices


def largest(supply: Supply, config: AutoencoderTrainConfig) -> str:
    """What the sources are at most, and what to do where that is too little."""
    sources = supply.sources
    if not sources:
        return "It holds no media. Name another with --dataset."
    longest = max(sources, key=lambda each: each.num_frames)
    size = "x".join(map(str, max(each.facts.size for each in sources)))
    is_cut = config.fit == "crop"
    advice = "Lower frames or the size, or choose --fit resize" if is_cut else "Lower frames, or raise fps"
    rate = f" at {longest.fps:g} frames per second"
    return f"The longest has {longest.num_frames} frames{rate}, the largest {size} pixels. {advice}."


def _is_usable(each: Supplied, config: AutoencoderTrainConfig, stage: AutoencoderStageConfig) -> bool:
    width, height = each.facts.size
    is_large = width >= stage.width and height >= stage.height
    return each.num_frames > 0 and (config.fit == "resize" or is_large)


def _covering(each: Supplied, config: AutoencoderTrainConfig, stage: AutoencoderStageConfig) -> Size:
    if config.fit == "crop":
        return each.facts.size
    return cover_crop_box(each.facts.size, (stage.width, stage.height))[0]
