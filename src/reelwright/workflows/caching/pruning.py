"""Files of a cache folder that belong to nothing."""

from collections.abc import Collection, Iterator

from reelwright.core.events import Event, Notice
from reelwright.data.cache_folder import CacheFolder
from reelwright.protocols.caching import LatentCache, TextCache


def prune_folder(
    folder: CacheFolder, cache: LatentCache | TextCache, keep: Collection[str], *, dry_run: bool = False
) -> Iterator[Event]:
    """Remove the files that this kind of cache may have written, but for those to keep."""
    strangers = [name for name in folder.names() if cache.is_own(name) and name not in keep]
    for name in strangers:
        if not dry_run:
            folder.remove(name)
        yield Notice(f"{folder.place(name)}: {'would be removed' if dry_run else 'removed'}, no item has it.")
