"""What this family does for data sets and caches."""

from reelwright.families.framepack.cache_imports import foreign_entries
from reelwright.families.framepack.cache_latents import locate_latents
from reelwright.families.framepack.cache_reading import item_reader
from reelwright.families.framepack.cache_texts import locate_texts
from reelwright.protocols.caching import Caching

CACHING = Caching(
    locate_latents=locate_latents,
    locate_texts=locate_texts,
    reader=item_reader,
    foreign=foreign_entries,
)
