"""The caches of data sets, opened for training: only what was made of what is there now."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from reelwright import families
from reelwright.core.config import validate
from reelwright.core.errors import CheckpointError, ConfigError, FileError
from reelwright.core.locations import exists, join
from reelwright.data.cache_folder import CacheFolder
from reelwright.data.cache_index import CacheIndex, index_name, read_index
from reelwright.data.cached_items import CachedItems, CacheSet
from reelwright.protocols.cache_configs import CacheLatentsConfig, CacheTextConfig
from reelwright.protocols.datasets import DatasetConfig
from reelwright.protocols.train_configs import TrainConfig
from reelwright.protocols.training import Training, TrainingData
from reelwright.workflows.caching.datasets import absolute, caching_of, folder_of, open_datasets
from reelwright.workflows.caching.identity import (
    check_identity,
    latents_identity,
    stored_settings,
    text_identity,
)

_LATENTS, _TEXT = "latents", "text"

Choice = Callable[[Sequence[tuple[DatasetConfig, CacheSet]]], Sequence[CacheSet]]
"""From data sets and their caches, the same caches with what is used of them. Raises UserError."""


@dataclass(frozen=True, kw_only=True)
class OpenedData:
    """What a run trains on; close the items after use."""

    items: CachedItems
    data: TrainingData
    notices: tuple[str, ...] = ()


def open_items(family: str, latents: CacheLatentsConfig, texts: CacheTextConfig) -> CachedItems:
    """The training items of the data sets that `latents.dataset` names, with their captions.

    Close them after use. Nothing is decoded and no network loads. Raises ConfigError where a cache was made
    with other settings or another model, FileError where there is none, a source has changed since, or a
    clip has no caption.
    """
    return _open(family, _expected(family, latents, texts), open_datasets(latents.dataset).datasets)


def open_training_data(
    family: str, config: TrainConfig, dataset: Path | None, choose: Choice | None = None
) -> OpenedData:
    """The items of a file of data sets for a run of `train`, read as the caches say that they were made.

    They are compared with the parts of the model that is trained. Where only a transformer was given, whose
    other parts are not on disk, that is left out, and said. `choose`: what is used of them, instead of all.
    Raises as `open_items`.
    """
    training, schemas = training_of(family), families.configs(family)
    datasets = open_datasets(dataset).datasets
    stored = _find_caches(family, datasets)
    made = training.caches(
        config,
        replace(stored_settings(stored[_LATENTS][1], schemas.CACHE_LATENTS), dataset=dataset),
        replace(stored_settings(stored[_TEXT][1], schemas.CACHE_TEXT), dataset=dataset),
    )
    notices: tuple[str, ...] = ()
    try:
        expected = _expected(family, *made)
    except (FileError, CheckpointError) as error:
        if config.dit is None or config.vae is not None:
            raise
        expected = _Expected(*made, latents_kind=stored[_LATENTS][0], texts_kind=stored[_TEXT][0])
        notices = (f"the caches are not compared with the model's other parts: {error}",)
    items = _open(family, expected, datasets, choose)
    data = TrainingData(latents=expected.latents, texts=expected.texts, datasets=datasets)
    return OpenedData(items=items, data=data, notices=notices)


def training_of(family: str) -> Training:
    """How a family is trained. Raises ConfigError if it is not."""
    training = families.load(family).training
    if training is None:
        raise ConfigError(f"{family}: this family is not trained here. Its models are for generation alone.")
    return training


@dataclass(frozen=True)
class _Expected:
    """The caches that would be made now; without identities they are taken as they are."""

    latents: CacheLatentsConfig
    texts: CacheTextConfig
    latents_kind: str
    texts_kind: str
    located: tuple[Any, Any] | None = None

    def identities(self, dataset: DatasetConfig) -> tuple[dict[str, str] | None, dict[str, str] | None]:
        if self.located is None:
            return None, None
        latents, texts = self.located
        return latents_identity(latents, dataset), text_identity(texts, dataset)


def _expected(family: str, latents: CacheLatentsConfig, texts: CacheTextConfig) -> _Expected:
    caching = caching_of(family)
    latents, texts = validate(latents, "cache latents"), validate(texts, "cache text")
    located = caching.locate_latents(latents), caching.locate_texts(texts)
    return _Expected(latents, texts, located[0].kind, located[1].kind, located)


def _open(
    family: str, expected: _Expected, datasets: tuple[DatasetConfig, ...], choose: Choice | None = None
) -> CachedItems:
    caching = caching_of(family)
    with ExitStack() as opened:

        def find(folder: CacheFolder, kind: str, identity: dict[str, str] | None) -> CacheIndex:
            index = opened.enter_context(read_index(folder, kind))
            if identity is not None:
                check_identity(index, identity)
            return index

        sets: list[CacheSet] = []
        for dataset in datasets:
            folder = CacheFolder(absolute(folder_of(dataset)))
            of_latents, of_texts = expected.identities(dataset)
            sets.append(
                CacheSet(
                    latents=find(folder, expected.latents_kind, of_latents),
                    texts=find(folder, expected.texts_kind, of_texts),
                    reader=caching.reader(expected.latents, dataset),
                    batch_size=dataset.batch_size,
                    num_repeats=dataset.num_repeats,
                )
            )
        items = CachedItems(sets if choose is None else choose(list(zip(datasets, sets, strict=True))))
        opened.pop_all()
    return items


def _find_caches(
    family: str, datasets: tuple[DatasetConfig, ...]
) -> dict[str, tuple[str, Mapping[str, str]]]:
    """Of latents and of text, the kind of index in the first cache folder, and what it says of itself.

    Raises FileError where one is missing, ConfigError where there are two of latents.
    """
    location = absolute(folder_of(datasets[0]))
    folder = CacheFolder(location)
    found: dict[str, dict[str, Mapping[str, str]]] = {_LATENTS: {}, _TEXT: {}}
    for kind in caching_of(family).kinds:
        if exists(join(location, index_name(kind))):
            with read_index(folder, kind) as index:
                found[_TEXT if kind.endswith(_TEXT) else _LATENTS][kind] = dict(index.identity)
    for name, kinds in found.items():
        if not kinds:
            raise FileError(
                f"{location}: there is no cache of {name}. Make it first: reelwright cache {name} {family}"
                " --dataset ..."
            )
    if len(found[_LATENTS]) > 1:
        raise ConfigError(
            f"{location}: holds latents in two forms, {' and '.join(found[_LATENTS])}. Give each its own"
            " cache_directory, in a file of data sets for each."
        )
    return {name: next(iter(kinds.items())) for name, kinds in found.items()}
