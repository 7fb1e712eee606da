"""What this family does for data sets and caches."""

from reelwright.families.cogvideox.cache_imports import foreign_entries
from reelwright.families.cogvideox.cache_latents import locate_latents
from reelwright.families.cogvideox.cache_layout import LatentFileName, is_text_file
from reelwright.families.cogvideox.cache_reading import item_reader
from reelwright.families.cogvideox.cache_texts import locate_texts
from reelwright.protocols.caching import Caching

CACHING = Caching(
    locate_latents=locate_latents,
    locate_texts=locate_texts,
    reader=item_reader,
    kinds={
        "cogvideox-latents": lambda name: LatentFileName.parse(name) is not None,
        "cogvideox-text": is_text_file,
    },
    foreign=foreign_entries,
)
