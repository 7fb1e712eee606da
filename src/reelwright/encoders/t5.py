"""The T5 text encoder: prompts to features, one vector for each token.

Released video models were trained without an attention mask: padding is attended to like text, so features
depend on the length that prompts are padded to.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor

from reelwright.checkpoint.key_map import KeyMap, Rule, same_names
from reelwright.checkpoint.layout_fit import Shape
from reelwright.encoders.pretrained import NetworkKind, Pretrained, count_layers
from reelwright.encoders.tokenizer import (
    SENTENCEPIECE_FILE,
    TOKENIZER_FILE,
    PromptTokenizer,
    TokenizerKind,
)

_ATTENTION = "encoder.block.{n}.layer.0.SelfAttention"
_FEED_FORWARD = "encoder.block.{n}.layer.1.DenseReluDense"
RELATIVE_POSITIONS = f"{_ATTENTION.format(n=0)}.relative_attention_bias.weight"
"""The table of what is added for each distance; all layers share the first one's."""
_STACK = same_names(
    (
        *(f"{_ATTENTION}.{part}.*" for part in ("q", "k", "v", "o", "relative_attention_bias")),
        *(f"{_FEED_FORWARD}.{part}.*" for part in ("wi", "wi_0", "wi_1", "wo")),
        "encoder.block.{n}.layer.{m}.layer_norm.*",
        "encoder.final_layer_norm.*",
    )
)
_PREFIXES = ("text_encoders.t5xxl.transformer.", "t5xxl.transformer.", "transformer.", "module.")
_DECODER = ("decoder.*", "lm_head.*")

# The embedding is one matrix with two names; files hold it under either or both.
T5_LAYOUTS = (
    KeyMap(
        name="T5 encoder",
        rules=(*_STACK, *same_names(["shared.*"])),
        dropped=(*_DECODER, "encoder.embed_tokens.weight"),
        prefixes=_PREFIXES,
    ),
    KeyMap(
        name="T5 encoder stack",
        rules=(*_STACK, Rule("shared.*", "encoder.embed_tokens.*")),
        dropped=_DECODER,
        prefixes=_PREFIXES,
    ),
)


class T5Text:
    """The tokenizer and, from its first use until it is released, the encoder of a model.

    `encoder_path` is a single file or a folder with weights and config.json; `tokenizer_path` a folder.
    """

    def __init__(self, encoder_path: Path, tokenizer_path: Path) -> None:
        self.encoder_path = encoder_path
        self.tokenizer_path = tokenizer_path
        self.encoder = Pretrained(encoder_path, _T5)

    @property
    def width(self) -> int:
        """Features per token."""
        return int(self.encoder.config.d_model)

    def check(self) -> None:
        """Raise CheckpointError if a file is missing or damaged, or does not belong to the others."""
        self.encoder.check()
        self.check_tokenizer()

    def check_tokenizer(self) -> None:
        """Raise CheckpointError if the tokenizer is damaged, or does not belong to the encoder's settings."""
        self._tokenizer.check_belongs(self.encoder_path, self.encoder.config.vocab_size)

    @property
    def num_tokens(self) -> int:
        """One more than the largest token that the tokenizer makes."""
        return self._tokenizer.num_tokens

    @property
    def pad(self) -> int:
        """The token that pads prompts."""
        return self._tokenizer.special("pad")

    def tokenize(self, prompt: str, max_tokens: int) -> tuple[list[int], str]:
        """Exactly `max_tokens` tokens, padded at the end; and the text that was cut off, if any."""
        return self._tokenizer.tokenize_padded(prompt, max_tokens)

    def count_tokens(self, prompt: str) -> int:
        """How many tokens a prompt has before it is cut or padded, with the one that ends it."""
        return len(self._tokenizer.tokenize(prompt)[0])

    def encode(
        self, prompts: Sequence[str], max_tokens: int, *, device: torch.device | str, dtype: torch.dtype
    ) -> Tensor:
        """Features [B, max_tokens, D] in `dtype` on `device`.

        Loads the encoder at the first call. Each prompt runs alone, so it does not depend on its neighbors.
        """
        encoder = self.encoder.loaded(torch.device(device), dtype)
        with torch.no_grad():
            rows = [self._encode_one(encoder, prompt, max_tokens) for prompt in prompts]
        return torch.cat(rows).to(dtype)

    def release(self) -> None:
        """Give back the encoder's memory; the next `encode` loads it again."""
        self.encoder.release()

    def _encode_one(self, encoder: "transformers.T5EncoderModel", prompt: str, max_tokens: int) -> Tensor:
        ids = torch.tensor([self.tokenize(prompt, max_tokens)[0]], device=encoder.device)
        features = encoder(input_ids=ids).last_hidden_state
        assert features is not None
        return features

    @cached_property
    def _tokenizer(self) -> PromptTokenizer:
        return PromptTokenizer(self.tokenizer_path, _TOKENIZER)


def t5_shapes(config: "transformers.T5Config") -> dict[str, Shape]:
    """Of the encoder's tensors."""
    width, inner, expanded = config.d_model, config.num_heads * config.d_kv, config.d_ff
    readers = ("wi_0", "wi_1") if config.feed_forward_proj.startswith("gated-") else ("wi",)
    shapes: dict[str, Shape] = {"shared.weight": (config.vocab_size, width)}
    for layer in range(config.num_layers):
        attention, feed_forward = _ATTENTION.format(n=layer), _FEED_FORWARD.format(n=layer)
        shapes |= {f"{attention}.{part}.weight": (inner, width) for part in "qkv"}
        shapes[f"{attention}.o.weight"] = (width, inner)
        if layer == 0:
            shapes[RELATIVE_POSITIONS] = (config.relative_attention_num_buckets, config.num_heads)
        shapes |= {f"{feed_forward}.{part}.weight": (expanded, width) for part in readers}
        shapes[f"{feed_forward}.wo.weight"] = (width, expanded)
        shapes |= {f"encoder.block.{layer}.layer.{half}.layer_norm.weight": (width,) for half in (0, 1)}
    return {**shapes, "encoder.final_layer_norm.weight": (width,)}


def _settings(shapes: Mapping[str, Shape]) -> dict[str, Any]:
    """What shapes tell; the other settings are those of every T5 v1.1."""
    attention, feed_forward = _ATTENTION.format(n=0), _FEED_FORWARD.format(n=0)
    vocab_size, width = shapes["shared.weight"]
    num_buckets, num_heads = shapes[f"{attention}.relative_attention_bias.weight"]
    is_gated = f"{feed_forward}.wi_0.weight" in shapes
    return {
        "vocab_size": vocab_size,
        "d_model": width,
        "num_layers": count_layers(shapes, "encoder.block"),
        "num_heads": num_heads,
        "d_kv": shapes[f"{attention}.q.weight"][0] // num_heads,
        "d_ff": shapes[f"{feed_forward}.wo.weight"][1],
        "relative_attention_num_buckets": num_buckets,
        "feed_forward_proj": "gated-gelu" if is_gated else "relu",
    }


def _overflows(name: str, dtype: torch.dtype) -> bool:
    """In half precision the sums of this matrix leave the range of numbers (transformers #20287)."""
    return dtype == torch.float16 and name.endswith(".wo.weight")


def _build(config: "transformers.T5Config") -> "transformers.T5EncoderModel":
    return transformers.T5EncoderModel(config)


def _read_tokenizer(folder: Path) -> "transformers.PreTrainedTokenizerBase":
    return transformers.T5Tokenizer.from_pretrained(folder, local_files_only=True)


_T5 = NetworkKind(
    title="T5 text encoder",
    example="t5xxl_fp16.safetensors",
    model_types=("t5",),
    layouts=T5_LAYOUTS,
    settings=_settings,
    config=lambda settings: transformers.T5Config(**settings),
    shapes=t5_shapes,
    network=_build,
    keeps_float32=_overflows,
    stack="encoder.block",
)
_TOKENIZER = TokenizerKind(
    files=((SENTENCEPIECE_FILE,), (TOKENIZER_FILE,)),
    read=_read_tokenizer,
    num_closing=1,
)
