"""Captions to files of features, of LLaMA and of CLIP."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from reelwright.encoders.clip import ClipText
from reelwright.encoders.llama import MAX_TOKENS, PADDED_TOKENS, LlamaText
from reelwright.encoders.pretrained import rounded_as
from reelwright.execution.block_swap import check_streaming
from reelwright.execution.devices import choose_device, choose_dtype
from reelwright.execution.weights import round_encoder
from reelwright.families.framepack.cache_layout import (
    STORED,
    caption_metadata,
    caption_name,
    named_tensors,
    stem_of_caption,
)
from reelwright.families.framepack.checkpoints import fingerprint_parts
from reelwright.families.framepack.config import FramePackCacheText
from reelwright.families.framepack.parts import Parts
from reelwright.protocols.caching import CacheEntry
from reelwright.protocols.clips import Source

TEXT_GROUP = "text"
_HEADER_BYTES = 1000


@dataclass(frozen=True, kw_only=True)
class FramePackTextCache:
    """A file for each caption. An empty caption is one like any other."""

    config: FramePackCacheText
    llama: LlamaText
    clip: ClipText
    fingerprints: Mapping[str, str]
    notices: tuple[str, ...] = ()
    kind: str = "framepack-text"

    @property
    def max_tokens(self) -> int:
        """Of LLaMA; CLIP reads the first 77 of its own."""
        return MAX_TOKENS

    def count_tokens(self, caption: str) -> int:
        return self.llama.count_tokens(caption, self.config.system_prompt)

    def entry(self, source: Source) -> CacheEntry:
        values = PADDED_TOKENS * self.llama.width + self.clip.width
        num_bytes = values * STORED.itemsize + PADDED_TOKENS + _HEADER_BYTES
        return CacheEntry(name=caption_name(source.stem), group=TEXT_GROUP, num_bytes=num_bytes)

    def metadata(self, caption: str) -> Mapping[str, str]:
        return caption_metadata(caption)

    def facts(self) -> Mapping[str, object]:
        rounded = rounded_as(self.llama.encoder)
        return {"system_prompt": self.config.system_prompt, "dtype": self.config.execution.dtype, **rounded}

    def is_own(self, name: str) -> bool:
        return stem_of_caption(name) is not None

    def open(self) -> "FramePackTextEncoder":
        return FramePackTextEncoder(self)


class FramePackTextEncoder:
    """Both text encoders, loaded at their first caption."""

    def __init__(self, cache: FramePackTextCache) -> None:
        self._cache = cache
        execution = cache.config.execution
        self._device = choose_device(execution.device)
        self._dtype = choose_dtype(execution.dtype, self._device, "float16")

    def encode(self, captions: Sequence[str]) -> Sequence[Mapping[str, Tensor]]:
        """Each caption runs through LLaMA alone, so it does not depend on its neighbors."""
        cache = self._cache
        llama = cache.llama.encode(
            captions, system_prompt=cache.config.system_prompt, device=self._device, dtype=self._dtype
        )
        pooled_BD = cache.clip.encode(captions, device=self._device, dtype=self._dtype)
        return [
            named_tensors(
                {
                    "llama_vec": states_LD.to("cpu", STORED),
                    "llama_attention_mask": torch.arange(len(states_LD)) < length,
                    "clip_l_pooler": pooled_D.to("cpu", STORED),
                }
            )
            for states_LD, length, pooled_D in zip(llama.states_BLD, llama.lengths, pooled_BD, strict=True)
        ]


def locate_texts(config: FramePackCacheText) -> FramePackTextCache:
    """Find both text encoders and their tokenizers. Raises UserError."""
    device = choose_device(config.execution.device)
    parts = Parts(config, wanted=("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2"))
    llama = LlamaText(parts.text_encoder, parts.tokenizer)
    clip = ClipText(parts.text_encoder_2, parts.tokenizer_2)
    check_streaming(config.execution)
    for text in (llama, clip):
        text.check()
        text.encoder.is_streamed = config.execution.stream_encoders
    round_encoder(llama.encoder, config.execution.text_weights, device)
    return FramePackTextCache(config=config, llama=llama, clip=clip, fingerprints=fingerprint_parts(parts))
