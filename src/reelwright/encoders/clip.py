"""The CLIP text encoder: a prompt to one vector, that of the token which ends it."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor

from reelwright.checkpoint.key_map import KeyMap, same_names
from reelwright.checkpoint.layout_fit import Shape
from reelwright.core.errors import CheckpointError
from reelwright.encoders.contrastive import LAYER_NAMES, count_positions, layer_shapes, norm_shapes
from reelwright.encoders.pretrained import NetworkKind, Pretrained, count_heads, count_layers, part_of
from reelwright.encoders.tokenizer import TOKENIZER_FILE, PromptTokenizer, TokenizerKind

MAX_TOKENS = 77
"""Tokens of a prompt with the two around it."""

# Configurations of old say so; the token that ends a prompt is then the largest one (transformers #24773).
_LEGACY_END = 2
_HEAD_SIZE = 64

CLIP_LAYOUT = KeyMap(
    name="CLIP text",
    rules=same_names(
        [
            "embeddings.token_embedding.weight",
            "embeddings.position_embedding.weight",
            *LAYER_NAMES,
            "final_layer_norm.*",
        ]
    ),
    dropped=(
        "embeddings.position_ids",
        "text_projection*",
        "visual_projection.weight",
        "vision_model.*",
        "logit_scale",
    ),
    prefixes=(
        "text_encoders.clip_l.transformer.text_model.",
        "text_encoders.clip_l.transformer.",
        "text_encoders.clip_l.",
        "clip_l.transformer.text_model.",
        "clip_l.",
        "transformer.text_model.",
        "text_model.",
    ),
)


class ClipText:
    """The tokenizer and, from its first use until it is released, the encoder of a model.

    `encoder_path` is a single file, a folder with weights and config.json, or a whole model with the folder
    `text_encoder_2`; `tokenizer_path` a folder with vocab.json and merges.txt, or such a model.
    """

    def __init__(self, encoder_path: Path, tokenizer_path: Path) -> None:
        self.encoder_path = part_of(encoder_path, "text_encoder_2")
        self.tokenizer_path = part_of(tokenizer_path, "tokenizer_2")
        self.encoder = Pretrained(self.encoder_path, _CLIP)

    @property
    def width(self) -> int:
        """Features of a prompt."""
        return int(self.encoder.config.hidden_size)

    def check(self) -> None:
        """Raise CheckpointError if a file is missing or damaged, or does not belong to the others."""
        self.encoder.check()
        self.check_tokenizer()

    def check_tokenizer(self) -> None:
        """Raise CheckpointError if the tokenizer is damaged, or does not belong to the encoder's settings."""
        self._tokenizer.check_belongs(self.encoder_path, self.encoder.config.vocab_size)
        end, expected = self._tokenizer.special("eos"), self.encoder.config.eos_token_id
        if expected == _LEGACY_END:
            expected = self._tokenizer.num_tokens - 1
        if end != expected:
            raise CheckpointError(
                f"{self.tokenizer_path}: ends a prompt with token {end}, but {self.encoder_path} looks for"
                f" {expected}. Give the tokenizer that belongs to this text encoder."
            )

    def special(self, kind: str) -> int:
        """The token for "pad", "eos" or "bos"."""
        return self._tokenizer.special(kind)

    def tokenize(self, prompt: str) -> tuple[list[int], str]:
        """Exactly 77 tokens, padded at the end; and the text that was cut off, if any."""
        return self._tokenizer.tokenize_padded(prompt, MAX_TOKENS)

    def encode(self, prompts: Sequence[str], *, device: torch.device | str, dtype: torch.dtype) -> Tensor:
        """Features [B, D] in `dtype` on `device`.

        Loads the encoder at the first call. Each prompt runs alone, so it does not depend on its neighbors.
        """
        encoder = self.encoder.loaded(torch.device(device), dtype)
        with torch.no_grad():
            rows = [self._encode_one(encoder, self.tokenize(prompt)[0]) for prompt in prompts]
        return torch.cat(rows).to(dtype)

    def release(self) -> None:
        """Give back the encoder's memory; the next `encode` loads it again."""
        self.encoder.release()

    def _encode_one(self, encoder: "transformers.CLIPTextModel", ids: list[int]) -> Tensor:
        pooled = encoder(input_ids=torch.tensor([ids], device=encoder.device)).pooler_output
        assert pooled is not None
        return pooled

    @cached_property
    def _tokenizer(self) -> PromptTokenizer:
        return PromptTokenizer(self.tokenizer_path, _TOKENIZER)


def clip_shapes(config: "transformers.CLIPTextConfig") -> dict[str, Shape]:
    """Of the network's tensors. Raises ValueError if heads do not fit the width."""
    width = config.hidden_size
    return {
        "embeddings.token_embedding.weight": (config.vocab_size, width),
        "embeddings.position_embedding.weight": (config.max_position_embeddings, width),
        **layer_shapes(config),
        **norm_shapes("final_layer_norm", width),
    }


def _settings(shapes: Mapping[str, Shape]) -> dict[str, Any]:
    """What shapes tell; the other settings are those of CLIP-L."""
    vocab_size, width = shapes["embeddings.token_embedding.weight"]
    return {
        "vocab_size": vocab_size,
        "hidden_size": width,
        "intermediate_size": shapes["encoder.layers.0.mlp.fc1.weight"][0],
        "num_hidden_layers": count_layers(shapes, "encoder.layers"),
        "num_attention_heads": count_heads(width, _HEAD_SIZE),
        "max_position_embeddings": shapes["embeddings.position_embedding.weight"][0],
        "hidden_act": "quick_gelu",
        "layer_norm_eps": 1e-5,
        "eos_token_id": _LEGACY_END,
    }


def _build(config: "transformers.CLIPTextConfig") -> "transformers.CLIPTextModel":
    return transformers.CLIPTextModel(config)


def _read_tokenizer(folder: Path) -> "transformers.PreTrainedTokenizerBase":
    return transformers.CLIPTokenizer.from_pretrained(folder, local_files_only=True)


_CLIP = NetworkKind(
    title="CLIP text encoder",
    example="clip_l.safetensors",
    model_types=("clip_text_model", "clip"),
    section="text_config",
    layouts=(CLIP_LAYOUT,),
    settings=_settings,
    config=lambda settings: transformers.CLIPTextConfig(**settings),
    shapes=clip_shapes,
    network=_build,
    finish=count_positions,
    released_prefix="text_model.",
)
_TOKENIZER = TokenizerKind(
    files=((TOKENIZER_FILE,), ("vocab.json", "merges.txt")), read=_read_tokenizer, num_closing=1
)
