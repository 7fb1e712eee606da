"""Prompts and pictures as features, from the cache on disk where they were encoded before."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from reelwright.core.paths import cache_folder
from reelwright.data.cache_store import CacheStore, content_key
from reelwright.encoders.clip import ClipText
from reelwright.encoders.llama import PADDED_TOKENS, LlamaText
from reelwright.encoders.pretrained import rounded_as
from reelwright.encoders.siglip import SiglipImage
from reelwright.families.framepack.config import FramePackGenerate


@dataclass(frozen=True, kw_only=True)
class Wording:
    """What the text encoders are told."""

    prompt: str
    system_prompt: str = ""
    """The instruction that LLaMA reads before the prompt; empty is the released one."""


@dataclass(frozen=True, kw_only=True)
class PromptFeatures:
    """One prompt as the denoiser reads it, in CPU memory."""

    llama_BLD: Tensor
    """[1, 512, D]; rows from `length` on are zero."""
    length: int
    pooled_BD: Tensor


def wordings(config: FramePackGenerate, prompts: Iterable[str]) -> list[Wording]:
    """What a video needs encoded: the prompts of its sections, and the negative one if guidance reads it."""
    negative = [config.negative_prompt] if config.guidance_scale != 1 else []
    return [Wording(prompt=prompt, system_prompt=config.system_prompt) for prompt in (*prompts, *negative)]


def encode_prompts(
    wanted: Iterable[Wording],
    *,
    llama: LlamaText,
    clip: ClipText,
    fingerprints: Mapping[str, str],
    device: torch.device,
    dtype: torch.dtype,
) -> dict[Wording, PromptFeatures]:
    """Encode every wording once. `fingerprints` are those of both text encoders and their tokenizers.

    Each encoder is loaded only for what the cache lacks, and released before the next is loaded.
    """
    each = list(dict.fromkeys(wanted))
    facts = _facts(fingerprints, ("text_encoder", "tokenizer"), device, dtype) | rounded_as(llama.encoder)
    states = {wording: _llama_states(wording, llama, facts, device, dtype) for wording in each}
    llama.release()
    facts = _facts(fingerprints, ("text_encoder_2", "tokenizer_2"), device, dtype)
    pooled = {wording: _clip_pooled(wording.prompt, clip, facts, device, dtype) for wording in each}
    clip.release()
    return {wording: _padded(states[wording], pooled[wording]) for wording in each}


def encode_images(
    images: Sequence[Image.Image],
    *,
    siglip: SiglipImage,
    fingerprints: Mapping[str, str],
    device: torch.device,
    dtype: torch.dtype,
) -> list[Tensor]:
    """Features [1, L, D] of each RGB picture, in CPU memory. `fingerprints` hold the image encoder's.

    Give pictures already cropped to the video's shape (specs: FramePack 3.2). The encoder is loaded only for
    what the cache lacks, and released.
    """
    store = CacheStore(cache_folder() / "images")
    facts = _facts(fingerprints, ("image_encoder",), device, dtype)
    features: list[Tensor] = []
    for image in images:
        pixels = hashlib.sha256(image.tobytes()).hexdigest()
        key = content_key(pixels=pixels, size=image.size, mode=image.mode, **facts)
        encode = partial(siglip.encode, [image], device=device, dtype=dtype)
        features.append(store.get_or_make(key, encode))
    siglip.release()
    return features


def _facts(
    fingerprints: Mapping[str, str], parts: Sequence[str], device: torch.device, dtype: torch.dtype
) -> dict[str, str]:
    """What features depend on beside the content; other kinds of device compute other digits."""
    return {**{part: fingerprints[part] for part in parts}, "dtype": str(dtype), "device": device.type}


def _llama_states(
    wording: Wording, llama: LlamaText, facts: Mapping[str, str], device: torch.device, dtype: torch.dtype
) -> Tensor:
    """[1, L, D], of the valid tokens alone: they are few."""

    def encode() -> Tensor:
        features = llama.encode(
            [wording.prompt], system_prompt=wording.system_prompt, device=device, dtype=dtype
        )
        return features.states_BLD[:, : features.lengths[0]].contiguous()

    key = content_key(encoder="llama", prompt=wording.prompt, system_prompt=wording.system_prompt, **facts)
    return _prompt_store().get_or_make(key, encode, {"prompt": wording.prompt})


def _clip_pooled(
    prompt: str, clip: ClipText, facts: Mapping[str, str], device: torch.device, dtype: torch.dtype
) -> Tensor:
    key = content_key(encoder="clip", prompt=prompt, **facts)
    encode = partial(clip.encode, [prompt], device=device, dtype=dtype)
    return _prompt_store().get_or_make(key, encode, {"prompt": prompt})


def _prompt_store() -> CacheStore:
    return CacheStore(cache_folder() / "prompts")


def _padded(states_BLD: Tensor, pooled_BD: Tensor) -> PromptFeatures:
    length = states_BLD.shape[1]
    padded = F.pad(states_BLD, (0, 0, 0, PADDED_TOKENS - length))
    return PromptFeatures(llama_BLD=padded, length=length, pooled_BD=pooled_BD)
