"""Captions to files of T5 features."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from reelwright.encoders.pretrained import rounded_as
from reelwright.execution.devices import choose_device, choose_dtype
from reelwright.families.cogvideox.cache_layout import (
    METADATA,
    is_text_file,
    stored,
    tensor_key,
    text_file_name,
)
from reelwright.families.cogvideox.cache_parts import TextParts, find_text_parts
from reelwright.families.cogvideox.config import CogVideoXCacheText
from reelwright.protocols.caching import CacheEntry
from reelwright.protocols.clips import Source

_HEADER_BYTES = 1024


def locate_texts(config: CogVideoXCacheText) -> "CogVideoXTextCache":
    """Find the text encoder. Raises UserError."""
    return CogVideoXTextCache(config=config, parts=find_text_parts(config))


@dataclass(frozen=True, kw_only=True)
class CogVideoXTextCache:
    """How captions become files of features. An empty caption is one like any other."""

    config: CogVideoXCacheText
    parts: TextParts
    kind: str = "cogvideox-text"

    @property
    def fingerprints(self) -> Mapping[str, str]:
        return self.parts.fingerprints

    @property
    def notices(self) -> Sequence[str]:
        return self.parts.notices

    @property
    def max_tokens(self) -> int:
        return self.parts.num_tokens

    def count_tokens(self, caption: str) -> int:
        return self.parts.text.count_tokens(caption)

    def entry(self, source: Source) -> CacheEntry:
        num_values = self.max_tokens * self.parts.text.width
        num_bytes = num_values * self.parts.stored_dtype.itemsize + _HEADER_BYTES
        return CacheEntry(
            name=text_file_name(source.stem), group=f"{self.max_tokens} tokens", num_bytes=num_bytes
        )

    def metadata(self, caption: str) -> Mapping[str, str]:
        return {**METADATA, "caption1": caption}

    def facts(self) -> Mapping[str, object]:
        rounded = rounded_as(self.parts.text.encoder)
        return {"num_tokens": self.max_tokens, "stored_dtype": str(self.parts.stored_dtype), **rounded}

    def is_own(self, name: str) -> bool:
        return is_text_file(name)

    def open(self) -> "CogVideoXTextEncoder":
        return CogVideoXTextEncoder(self)


class CogVideoXTextEncoder:
    """The text encoder, loaded at its first caption."""

    def __init__(self, cache: CogVideoXTextCache) -> None:
        self._cache = cache
        execution = cache.config.execution
        self._device = choose_device(execution.device)
        self._dtype = choose_dtype(execution.dtype, self._device, cache.parts.released_dtype)

    def encode(self, captions: Sequence[str]) -> Sequence[Mapping[str, Tensor]]:
        """`prompt_embeds` [L, D] of each caption, padded; what is too long is cut off at the end."""
        parts = self._cache.parts
        features_BLD = parts.text.encode(captions, parts.num_tokens, device=self._device, dtype=self._dtype)
        rows = [stored(features_LD, parts.stored_dtype) for features_LD in features_BLD]
        return [{tensor_key("prompt_embeds", row): row} for row in rows]
