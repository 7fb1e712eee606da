"""Files of another program taken over instead of encoding again."""

from collections.abc import Generator, Sequence
from dataclasses import replace

import torch

from reelwright.core.errors import UserError
from reelwright.core.events import Event, Notice, StageStarted, StepDone
from reelwright.data.cache_folder import CacheFolder
from reelwright.protocols.cache_configs import CacheConfig
from reelwright.protocols.caching import CacheFile, Caching, ForeignEntry
from reelwright.workflows.caching.orders import Item, Kind

IMPORTED = "reelwright_imported"
"""The metadata of files that were vouched for rather than made."""


def adopt(
    items: Sequence[Item], kind: Kind, config: CacheConfig, caching: Caching, folder: CacheFolder
) -> Generator[Event, None, list[Item]]:
    """Put what `config.import_from` holds into the cache folder; returns the items that it lacks.

    A file fits an item if it has the name that the item's file will have, which tells stem, stretch, section
    and size. An item is taken over whole or not at all.
    """
    assert config.import_from is not None
    captions = {entry.name: item.caption for item in items for entry in item.entries}
    entries = caching.foreign(config.import_from, config, captions if kind == "text" else {})
    found = {each.name: each for each in entries}
    lacking: list[Item] = []
    yield StageStarted("take over", len(items))
    for number, item in enumerate(items, start=1):
        offered = [found.get(entry.name) for entry in item.entries]
        files = [each for each in offered if each is not None]
        if len(files) < len(item.entries):
            lacking.append(item)
        else:
            try:
                for each in files:
                    file = _ours(each)
                    if kind == "latents":  # of another layout it would be refused when it is trained on
                        caching.reader(config, item.dataset).read(file.tensors, 0, torch.Generator())
                    folder.write(file, item.fingerprint)
            except UserError as error:
                lacking.append(item)
                yield Notice(f"{item.name}: is encoded again. {error}")
        yield StepDone("take over", number, len(items), 0.0)
    unused = (
        len(found) - sum(len(item.entries) for item in items) + sum(len(item.entries) for item in lacking)
    )
    if unused > 0:
        yield Notice(
            f"{config.import_from}: {unused} files fit no item that has to be encoded: another size, length,"
            " stretch or mode than the data set says now."
        )
    return lacking


def _ours(foreign: ForeignEntry) -> CacheFile:
    if foreign.convert is not None:
        file = foreign.convert()
    else:
        tensors, metadata = CacheFolder(str(foreign.path.parent)).read(foreign.path.name)
        file = CacheFile(name=foreign.name, tensors=tensors, metadata=metadata)
    return replace(file, metadata={**file.metadata, IMPORTED: "yes"})
