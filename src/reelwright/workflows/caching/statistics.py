"""What is in a cache, in words."""

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import cast

from reelwright.core.locations import local_path
from reelwright.core.sizes import size_text
from reelwright.data.cache_folder import CacheFolder
from reelwright.data.cache_index import CacheIndex
from reelwright.workflows.caching.identity import SETTINGS
from reelwright.workflows.caching.pruning import find_strangers


def index_facts(index: CacheIndex, is_own: Callable[[str], bool], listed: Collection[str]) -> dict[str, str]:
    """Of the files of one kind in a folder: how many, how large, how old, and what they were made with.

    `listed` are the files that belong to any cache of the folder. Sizes and ages are those of local files.
    """
    files, items = _counts_by_group(index)
    facts = {
        "cache": index.folder.location,
        "kind": index.kind,
        "files": f"{index.num_files:,}",
        "training items": f"{index.num_items:,}",
        **_sizes_and_ages(index),
    }
    strangers = len(find_strangers(index.folder, is_own, listed))
    if strangers:
        facts["files of no item"] = f"{strangers:,}, which cache prune removes"
    groups = {
        f"group {name}": f"{files[name]:,} files, {items[name]:,} training items"
        for name in index.groups
        if name
    }
    return facts | groups | {f"made with {name}": text for name, text in _origins(index.identity)}


def _origins(identity: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """What a cache was made with, by name; those facts that are kept as JSON each for itself, but
    for those that say nothing."""
    for name, text in sorted(identity.items()):
        if name == SETTINGS:
            continue
        facts = _table(text)
        if facts is None:
            yield name, text
        else:
            told = ((key, value) for key, value in facts if value is not None and value != "")
            yield from ((key, value if isinstance(value, str) else json.dumps(value)) for key, value in told)


def _table(text: str) -> list[tuple[str, object]] | None:
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return sorted(cast("dict[str, object]", found).items()) if isinstance(found, dict) else None


def _counts_by_group(index: CacheIndex) -> tuple[Counter[str], Counter[str]]:
    """Files and training items."""
    files: Counter[str] = Counter()
    items: Counter[str] = Counter()
    for group, num_items in zip(*index.counts(), strict=True):
        files[index.groups[group]] += 1
        items[index.groups[group]] += int(num_items)
    return files, items


def _sizes_and_ages(index: CacheIndex) -> dict[str, str]:
    folder = local_path(index.folder.location)
    if folder is None:
        return {}
    size, missing = 0, 0
    times: list[float] = []
    for row in index.rows():
        status = _status(folder, index.folder, row.file)
        if status is None:
            missing += 1
            continue
        size += status[0]
        times = [min([*times, status[1]]), max([*times, status[1]])]
    facts = {"size": size_text(size)}
    if missing:
        facts["missing files"] = f"{missing:,}, which the cache command makes again"
    if times:
        oldest, newest = (datetime.fromtimestamp(each).isoformat(" ", "seconds") for each in times)
        facts["written"] = f"{oldest} to {newest}"
    return facts


def _status(path: Path, folder: CacheFolder, name: str) -> tuple[int, float] | None:
    """Bytes and time of a file; None where it is missing."""
    folder.place(name)
    try:
        status = (path / name).stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime
