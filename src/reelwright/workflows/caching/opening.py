"""The caches of data sets, opened for training: only what was made of what is there now."""

from contextlib import ExitStack

from reelwright.core.config import validate
from reelwright.data.cache_folder import CacheFolder
from reelwright.data.cache_index import CacheIndex, read_index
from reelwright.data.cached_items import CachedItems, CacheSet
from reelwright.protocols.cache_configs import CacheLatentsConfig, CacheTextConfig
from reelwright.workflows.caching.datasets import absolute, caching_of, folder_of, open_datasets
from reelwright.workflows.caching.identity import check_identity, latents_identity, text_identity


def open_items(family: str, latents: CacheLatentsConfig, texts: CacheTextConfig) -> CachedItems:
    """The training items of the data sets that `latents.dataset` names, with their captions.

    Close them after use. Nothing is decoded and no network loads. Raises ConfigError where a cache was made
    with other settings or another model, FileError where there is none, a source has changed since, or a
    clip has no caption.
    """
    caching = caching_of(family)
    latents, texts = validate(latents, "cache latents"), validate(texts, "cache text")
    latent_cache, text_cache = caching.locate_latents(latents), caching.locate_texts(texts)
    with ExitStack() as opened:

        def find(folder: CacheFolder, kind: str, identity: dict[str, str]) -> CacheIndex:
            index = opened.enter_context(read_index(folder, kind))
            check_identity(index, identity)
            return index

        sets: list[CacheSet] = []
        for dataset in open_datasets(latents.dataset).datasets:
            folder = CacheFolder(absolute(folder_of(dataset)))
            sets.append(
                CacheSet(
                    latents=find(folder, latent_cache.kind, latents_identity(latent_cache, dataset)),
                    texts=find(folder, text_cache.kind, text_identity(text_cache, dataset)),
                    reader=caching.reader(latents, dataset),
                    batch_size=dataset.batch_size,
                    num_repeats=dataset.num_repeats,
                )
            )
        items = CachedItems(sets)
        opened.pop_all()
    return items
