"""Prompts as features, from the cache on disk where they were encoded before."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from reelwright.core.paths import cache_folder
from reelwright.data.cache_store import CacheStore, content_key
from reelwright.encoders.pretrained import rounded_as
from reelwright.encoders.t5 import T5Text
from reelwright.families.cogvideox.checkpoints import CogVideoXModel
from reelwright.families.cogvideox.config import CogVideoXGenerate


class TextFiles(Protocol):
    """A text encoder, and what tells it from others."""

    @property
    def text(self) -> T5Text: ...

    @property
    def fingerprints(self) -> Mapping[str, str]: ...


@dataclass(frozen=True, kw_only=True)
class Texts:
    """Features of all prompts of a run, [1, L, D] each."""

    features: Mapping[tuple[str, int], Tensor]
    default_tokens: int

    def positive(self, config: CogVideoXGenerate) -> Tensor:
        return self._of(config, config.prompt)

    def negative(self, config: CogVideoXGenerate) -> Tensor:
        """The negative prompt's features, or zeros, which stand for no prompt in training."""
        if config.negative == "zero":
            return torch.zeros_like(self.positive(config))
        return self._of(config, config.negative_prompt)

    def _of(self, config: CogVideoXGenerate, prompt: str) -> Tensor:
        return self.features[prompt, config.compatibility.text_tokens or self.default_tokens]


def encode_texts(
    model: CogVideoXModel, configs: Sequence[CogVideoXGenerate], device: torch.device, dtype: torch.dtype
) -> Texts:
    """Encode every prompt once. The encoder is loaded only for prompts that the cache lacks, and released."""
    default_tokens = model.transformer.max_text_seq_length
    features = {
        (prompt, num_tokens): encode_text(model, prompt, num_tokens, device, dtype)
        for prompt, num_tokens in _wanted(configs, default_tokens)
    }
    model.text.release()
    return Texts(features=features, default_tokens=default_tokens)


def encode_text(
    encoder: TextFiles, prompt: str, num_tokens: int, device: torch.device, dtype: torch.dtype
) -> Tensor:
    """Features [1, L, D] of one prompt; the encoder is loaded if the cache lacks them, and stays so."""
    key = content_key(
        prompt=prompt,
        num_tokens=num_tokens,
        encoder=encoder.fingerprints["text_encoder"],
        tokenizer=encoder.fingerprints["tokenizer"],
        dtype=str(dtype),
        device=device.type,
        **rounded_as(encoder.text.encoder),
    )
    encode = partial(encoder.text.encode, [prompt], num_tokens, device=device, dtype=dtype)
    return CacheStore(cache_folder() / "prompts").get_or_make(key, encode, {"prompt": prompt})


def _wanted(configs: Sequence[CogVideoXGenerate], default_tokens: int) -> list[tuple[str, int]]:
    """Prompts with their lengths in tokens, each once; negative ones only where guidance reads them."""
    wanted: dict[tuple[str, int], None] = {}
    for config in configs:
        num_tokens = config.compatibility.text_tokens or default_tokens
        wanted[config.prompt, num_tokens] = None
        if config.guidance_scale > 1 and config.negative == "text":
            wanted[config.negative_prompt, num_tokens] = None
    return list(wanted)
