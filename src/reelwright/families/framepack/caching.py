"""What this family does for data sets and caches."""

from reelwright.families.framepack.cache_drawing import reader_of
from reelwright.families.framepack.cache_imports import foreign_entries
from reelwright.families.framepack.cache_latents import locate_latents
from reelwright.families.framepack.cache_layout import is_compact_name, is_compatible_name, stem_of_caption
from reelwright.families.framepack.cache_texts import locate_texts
from reelwright.protocols.caching import Caching

CACHING = Caching(
    locate_latents=locate_latents,
    locate_texts=locate_texts,
    reader=reader_of,
    kinds={
        "framepack-latents": is_compatible_name,
        "framepack-compact": is_compact_name,
        "framepack-text": lambda name: stem_of_caption(name) is not None,
    },
    foreign=foreign_entries,
)
