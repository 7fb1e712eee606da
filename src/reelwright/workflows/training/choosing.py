"""Which items of the caches a stage learns from: by their size, their length and their score."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from reelwright.core.errors import ConfigError, FileError
from reelwright.data.cached_items import CacheSet
from reelwright.data.sources import list_sources
from reelwright.protocols.datasets import DatasetConfig
from reelwright.protocols.train_configs import CurriculumStage

_SIZE = re.compile(r"(\d+)x(\d+)(?:x(\d+))?(?!\d)")
"""How names of groups begin (`CacheEntry.group`)."""
_NUM_SHOWN = 3

Place = tuple[int, str]
"""A data set by its number, and the stem of a clip in it."""


def choose_items(
    stage: CurriculumStage, caches: Sequence[tuple[DatasetConfig, CacheSet]], origin: str
) -> list[CacheSet]:
    """The caches with what the stage asks for; `origin` names the stage in messages.

    All files of a clip go with it. Raises ConfigError where nothing is left or clips have no score, FileError
    where the data sets cannot be listed.
    """
    sets = [
        part if not stage.batch_size else replace(part, batch_size=stage.batch_size) for _, part in caches
    ]
    if stage.size or stage.num_frames:
        sets = _of_size(stage, sets, origin)
    if stage.min_score is not None or stage.best < 1:
        stems = [_stems(part) for part in sets]
        used = {(number, stem) for number, found in enumerate(stems) for stem in found}
        scores = _scores([dataset for dataset, _ in caches], used, origin)
        chosen = best_scored(scores, at_least=stage.min_score, share=stage.best)
        if not chosen:
            raise ConfigError(
                f"{origin}.min_score: {stage.min_score:g} is above all scores, the highest of which is"
                f" {max(scores.values()):g}. Lower it."
            )
        sets = [
            replace(part, rows=_rows(part)[[(number, stem) in chosen for stem in stems[number]]])
            for number, part in enumerate(sets)
        ]
    return sets


def best_scored(scores: Mapping[Place, float], *, at_least: float | None, share: float) -> set[Place]:
    """The share with the highest scores of all, at least one; of those, what has `at_least` that score.

    Of equal ones, the first by name come first.
    """
    ranked = sorted(scores, key=lambda place: (-scores[place], place))
    count = max(round(share * len(ranked)), 1)
    return {place for place in ranked[:count] if at_least is None or scores[place] >= at_least}


def _of_size(stage: CurriculumStage, sets: Sequence[CacheSet], origin: str) -> list[CacheSet]:
    wanted = _wanted_size(stage, origin)
    found = [
        replace(part, rows=rows[[_fits(group, wanted) for group in _groups(part, rows)]])
        for part in sets
        for rows in [_rows(part)]
    ]
    if not any(part.num_files for part in found):
        there = sorted({group for part in sets for group in part.latents.groups})
        frames = f" with {stage.num_frames} frames" if stage.num_frames else ""
        raise ConfigError(
            f"{origin}.size: there are no items of {stage.size or 'any size'}{frames}. The caches hold"
            f" {', '.join(there)}."
        )
    return found


def _wanted_size(stage: CurriculumStage, origin: str) -> tuple[str, str, str]:
    """Width, height and frames in digits; empty where any will do."""
    match = _SIZE.fullmatch(stage.size)
    if stage.size and (match is None or match[3]):
        raise ConfigError(f"{origin}.size: {stage.size!r} is no size. Write width x height, as 128x96.")
    width, height = (match[1], match[2]) if match is not None else ("", "")
    return width, height, str(stage.num_frames or "")


def _fits(group: str, wanted: tuple[str, str, str]) -> bool:
    match = _SIZE.match(group)
    found = match.groups() if match is not None else (None, None, None)
    return all(want in ("", has) for want, has in zip(wanted, found, strict=True))


def _groups(part: CacheSet, rows: NDArray[np.int32]) -> list[str]:
    """The name of each file's group."""
    numbers, _ = part.latents.counts()
    return [part.latents.groups[number] for number in numbers[rows]]


def _rows(part: CacheSet) -> NDArray[np.int32]:
    return np.arange(part.latents.num_files, dtype=np.int32) if part.rows is None else part.rows


def _stems(part: CacheSet) -> list[str]:
    """Of the files that are used."""
    return [part.latents.row(int(number)).stem for number in _rows(part)]


def _scores(datasets: Sequence[DatasetConfig], used: set[Place], origin: str) -> dict[Place, float]:
    """Of each clip that is used. Raises ConfigError with some of those that have none."""
    problems: list[str] = []
    scores = {place: score for place, score in _listed_scores(datasets, problems) if place in used}
    if missing := sorted(used - scores.keys()):
        shown = ", ".join(stem for _, stem in missing[:_NUM_SHOWN])
        raise ConfigError(
            f"{origin}: is to learn from the best clips, and {len(missing):,} of {len(used):,} have no score:"
            f" {shown}{', ...' if len(missing) > _NUM_SHOWN else ''}. Write `score` into the list of clips,"
            f" or a file such as clip.score beside each; caches need not be made again."
            f" {' '.join(problems[:1])}".rstrip()
        )
    return scores


def _listed_scores(datasets: Sequence[DatasetConfig], problems: list[str]) -> Iterable[tuple[Place, float]]:
    """What is wrong with single items, which caches leave out too, goes to `problems`."""
    for number, dataset in enumerate(datasets):
        for source in list_sources(dataset):
            if isinstance(source, FileError):
                problems.append(str(source))
            elif source.score is not None:
                yield (number, source.stem), source.score
