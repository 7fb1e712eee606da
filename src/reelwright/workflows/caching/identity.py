"""What an index says of the cache it lists: whose it is and what it was made with."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from reelwright.core.config import from_mapping, to_mapping
from reelwright.core.errors import ConfigError, FileError
from reelwright.core.locations import exists, join
from reelwright.data.cache_folder import CacheFolder
from reelwright.data.cache_index import CacheIndex, index_name, read_index
from reelwright.protocols.cache_configs import CacheConfig
from reelwright.protocols.caching import LatentCache, TextCache
from reelwright.protocols.datasets import DatasetConfig
from reelwright.workflows.caching.datasets import absolute

C = TypeVar("C", bound=CacheConfig)

SETTINGS = "settings"
"""The configuration of the command that made a cache, for those who read it; what follows from it is compared
one by one."""
_ORIGIN = "origin"
_FACTS = "facts"
_OF_ONE_RUN = (
    *("dataset", "force", "import_from", "prune", "batch_size"),
    *("num_workers", "processes", "executor", "ray_address"),
)
"""Fields of that configuration that change no file."""
_WITHOUT_EFFECT = (
    *("batch_size", "num_repeats", "caption_extension", "cache_directory", "family_keys"),
    *("image_directory", "image_jsonl_file", "video_directory", "video_jsonl_file", "folder"),
)
"""Keys of a data set that change no clip; its sources are looked at one by one."""


def latents_identity(cache: LatentCache, dataset: DatasetConfig) -> dict[str, str]:
    """Of the latents of a data set, as name and words; two that are equal hold the same clips."""
    keys = {key: text for key, text in to_mapping(dataset).items() if key not in _WITHOUT_EFFECT}
    return _identity(cache, dataset, {"data set": keys, **cache.facts(dataset)})


def text_identity(cache: TextCache, dataset: DatasetConfig) -> dict[str, str]:
    """Of the features of a data set's captions."""
    return _identity(cache, dataset, cache.facts())


def settings_identity(config: CacheConfig) -> dict[str, str]:
    """What an index remembers of the configuration, beside what it is compared by."""
    said = {key: each for key, each in to_mapping(config).items() if key not in _OF_ONE_RUN}
    return {SETTINGS: json.dumps(said, sort_keys=True)}


def stored_settings(identity: Mapping[str, str], schema: type[C]) -> C:
    """The configuration that a cache was made with; the defaults for one that does not say."""
    return from_mapping(schema, json.loads(identity.get(SETTINGS, "{}")), "settings of the cache")


def check_owner(folder: str, kind: str, dataset: DatasetConfig) -> None:
    """Raise ConfigError if the folder holds the cache of another data set that still exists."""
    if not exists(join(folder, index_name(kind))):
        return
    try:
        with read_index(CacheFolder(folder), kind) as index:
            origin = index.identity[_ORIGIN]
    except (FileError, KeyError):
        return  # a damaged index is written anew
    if origin != absolute(dataset.origin) and exists(origin):
        raise ConfigError(
            f"{folder}: holds the cache of {origin}, and {absolute(dataset.origin)} would be mixed with it."
            " Give each data set its own cache_directory."
        )


def check_identity(index: CacheIndex, expected: dict[str, str]) -> None:
    """Raise ConfigError if the cache was made with anything else than what would make it now."""
    differing = list(_differences(index.identity, expected))
    if differing:
        raise ConfigError(
            f"{index.place}: was made with other settings: {'; '.join(differing)}."
            " Run the cache command again, which makes anew what is affected."
        )


def _identity(cache: LatentCache | TextCache, dataset: DatasetConfig, facts: object) -> dict[str, str]:
    models = {f"model {part}": name for part, name in cache.fingerprints.items()}
    return {_ORIGIN: absolute(dataset.origin), _FACTS: json.dumps(facts, sort_keys=True), **models}


def _differences(found: dict[str, str], expected: dict[str, str]) -> Iterator[str]:
    for name in sorted(expected.keys() | found.keys()):
        was, now = found.get(name), expected.get(name)
        if was == now or name in (_ORIGIN, SETTINGS):
            continue
        if name == _FACTS and was is not None and now is not None:
            yield from _differing_facts(json.loads(was), json.loads(now))
        else:
            yield f"{name} was {was or 'nothing'}, is {now or 'nothing'}"


def _differing_facts(was: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """Only what differs of a cache's facts, also of those of its data set."""
    for name in sorted(was.keys() | now.keys()):
        before, after = was.get(name), now.get(name)
        if isinstance(before, dict) and isinstance(after, dict):
            yield from _differing_facts(before, after)  # pyright: ignore[reportUnknownArgumentType]
        elif before != after:
            yield f"{name} was {json.dumps(before)}, is {json.dumps(after)}"
