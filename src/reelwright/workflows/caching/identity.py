"""What an index says of the cache it lists: whose it is and what it was made with."""

import json

from reelwright.core.errors import ConfigError, FileError
from reelwright.core.locations import exists, join
from reelwright.data.cache_folder import CacheFolder
from reelwright.data.cache_index import index_name, read_index
from reelwright.protocols.caching import LatentCache, TextCache
from reelwright.protocols.datasets import DatasetConfig
from reelwright.workflows.caching.datasets import absolute

ORIGIN, FACTS = "origin", "facts"


def identity_of(cache: LatentCache | TextCache, facts: object, dataset: DatasetConfig) -> dict[str, str]:
    """Of the cache of a data set; `facts` are those of the cache for it."""
    models = {f"model {part}": name for part, name in cache.fingerprints.items()}
    return {ORIGIN: absolute(dataset.origin), FACTS: json.dumps(facts, sort_keys=True), **models}


def check_owner(folder: str, kind: str, dataset: DatasetConfig) -> None:
    """Raise ConfigError if the folder holds the cache of another data set that still exists."""
    if not exists(join(folder, index_name(kind))):
        return
    try:
        origin = read_index(CacheFolder(folder), kind).identity[ORIGIN]
    except (FileError, KeyError):
        return  # a damaged index is written anew
    if origin != absolute(dataset.origin) and exists(origin):
        raise ConfigError(
            f"{folder}: holds the cache of {origin}, and {absolute(dataset.origin)} would be mixed with it."
            " Give each data set its own cache_directory."
        )
