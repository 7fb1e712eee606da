"""Files of a cache folder that belong to nothing."""

from collections.abc import Callable, Collection, Iterator

from reelwright.core.events import Event, Notice
from reelwright.data.cache_folder import CacheFolder


def prune_folder(
    folder: CacheFolder, is_own: Callable[[str], bool], keep: Collection[str], *, dry_run: bool = False
) -> Iterator[Event]:
    """Remove the files that this kind of cache may have written, but for those to keep."""
    for name in find_strangers(folder, is_own, keep):
        if not dry_run:
            folder.remove(name)
        yield Notice(f"{folder.place(name)}: {'would be removed' if dry_run else 'removed'}, no item has it.")


def find_strangers(folder: CacheFolder, is_own: Callable[[str], bool], keep: Collection[str]) -> list[str]:
    """The names of these files."""
    return [name for name in folder.names() if is_own(name) and name not in keep]
