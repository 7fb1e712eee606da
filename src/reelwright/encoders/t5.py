"""The T5 text encoder: prompts to features, one vector for each token.

Released video models were trained without an attention mask: padding is attended to like text, so features
depend on the length that prompts are padded to.
"""

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub.errors import StrictDataclassError
from torch import Tensor

from reelwright.checkpoint.key_map import KeyMap, Rule, same_names
from reelwright.checkpoint.loading import detect_layout, expected_shapes, load_weights
from reelwright.checkpoint.safetensors_io import open_tensors
from reelwright.checkpoint.tensor_source import TensorSource
from reelwright.core.errors import CheckpointError
from reelwright.core.paths import cannot_read
from reelwright.encoders.t5_tokenizer import T5Tokenizer

_ATTENTION = "encoder.block.{n}.layer.0.SelfAttention"
_FEED_FORWARD = "encoder.block.{n}.layer.1.DenseReluDense"
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
        self._encoder: transformers.T5EncoderModel | None = None
        self._loaded_for: tuple[torch.device, torch.dtype] | None = None

    @property
    def width(self) -> int:
        """Features per token."""
        return int(self._config.d_model)

    def check(self) -> None:
        """Raise CheckpointError if a file is missing or damaged, or does not belong to the others."""
        network = self._empty_encoder()
        with open_tensors(self.encoder_path) as source:
            detect_layout(source, T5_LAYOUTS, expected_shapes(network))
        if self._tokenizer.num_tokens > self._config.vocab_size:
            raise CheckpointError(
                f"{self.tokenizer_path}: has {self._tokenizer.num_tokens} tokens, but {self.encoder_path}"
                f" knows {self._config.vocab_size}. Give the tokenizer that belongs to this text encoder."
            )

    def tokenize(self, prompt: str, max_tokens: int) -> tuple[list[int], str]:
        """Exactly `max_tokens` tokens, padded at the end; and the text that was cut off, if any."""
        return self._tokenizer.tokenize(prompt, max_tokens)

    def encode(
        self, prompts: Sequence[str], max_tokens: int, *, device: torch.device | str, dtype: torch.dtype
    ) -> Tensor:
        """Features [B, max_tokens, D] in `dtype` on `device`.

        Loads the encoder at the first call. Each prompt runs alone, so it does not depend on its neighbors.
        """
        encoder = self._loaded(torch.device(device), dtype)
        with torch.no_grad():
            rows = [self._encode_one(encoder, prompt, max_tokens) for prompt in prompts]
        return torch.cat(rows).to(dtype)

    def release(self) -> None:
        """Give back the encoder's memory; the next `encode` loads it again."""
        self._encoder = None

    def _encode_one(self, encoder: "transformers.T5EncoderModel", prompt: str, max_tokens: int) -> Tensor:
        ids = torch.tensor([self.tokenize(prompt, max_tokens)[0]], device=encoder.device)
        features = encoder(input_ids=ids).last_hidden_state
        assert features is not None
        return features

    def _loaded(self, device: torch.device, dtype: torch.dtype) -> "transformers.T5EncoderModel":
        if self._encoder is not None and self._loaded_for == (device, dtype):
            return self._encoder
        self.release()
        encoder = self._empty_encoder()

        def overflows(name: str) -> bool:
            """In half precision the sums of this matrix leave the range of numbers (transformers #20287)."""
            return dtype == torch.float16 and name.endswith(".wo.weight")

        with open_tensors(self.encoder_path) as source:
            layout = detect_layout(source, T5_LAYOUTS, expected_shapes(encoder))
            load_weights(encoder, source, layout, dtype=dtype, device=device, keep_float32=overflows)
        self._loaded_for = (device, dtype)
        self._encoder = encoder.requires_grad_(requires_grad=False).eval()
        return self._encoder

    def _empty_encoder(self) -> "transformers.T5EncoderModel":
        with torch.device("meta"):
            return transformers.T5EncoderModel(self._config)

    @cached_property
    def _tokenizer(self) -> T5Tokenizer:
        return T5Tokenizer(self.tokenizer_path)

    @cached_property
    def _config(self) -> "transformers.T5Config":
        described = self.encoder_path / "config.json"
        if described.is_file():
            return _read_config(described)
        with open_tensors(self.encoder_path) as source:
            return transformers.T5Config(**_describe(source))


def _read_config(path: Path) -> "transformers.T5Config":
    try:
        settings: dict[str, Any] = json.loads(path.read_bytes())
        if settings.get("model_type", "t5") != "t5":
            raise CheckpointError(f"{path}: is of {settings['model_type']}; a T5 text encoder is needed.")
        return transformers.T5Config(**settings)
    except OSError as error:
        raise cannot_read(path, error) from error
    except (ValueError, TypeError, AttributeError, StrictDataclassError) as error:
        raise CheckpointError(f"{path}: is damaged ({error}). Fetch it again.") from error


def _describe(source: TensorSource) -> dict[str, Any]:
    """The settings that the tensors of a single file tell; the others are those of every T5 v1.1."""
    shapes = {_our_name(name): shape for name, shape in source.shapes().items()}
    try:
        return _settings(shapes)
    except (KeyError, ValueError, ZeroDivisionError) as error:
        raise CheckpointError(
            f"{source.origin}: this is not a T5 text encoder; its first tensors are"
            f" {', '.join(source.names()[:3])}. Give a T5 encoder such as t5xxl_fp16.safetensors."
        ) from error


def _our_name(file_name: str) -> str:
    """Our name of a file's tensor in the first layout that knows it."""
    for layout in T5_LAYOUTS:
        for found in layout.find(layout.without_prefix(file_name)):
            return found.ours
    return file_name


def _settings(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    attention, feed_forward = _ATTENTION.format(n=0), _FEED_FORWARD.format(n=0)
    vocab_size, width = shapes["shared.weight"]
    num_buckets, num_heads = shapes[f"{attention}.relative_attention_bias.weight"]
    is_gated = f"{feed_forward}.wi_0.weight" in shapes
    blocks = {name.split(".")[2] for name in shapes if name.startswith("encoder.block.")}
    return {
        "vocab_size": vocab_size,
        "d_model": width,
        "num_layers": len(blocks),
        "num_heads": num_heads,
        "d_kv": shapes[f"{attention}.q.weight"][0] // num_heads,
        "d_ff": shapes[f"{feed_forward}.wo.weight"][1],
        "relative_attention_num_buckets": num_buckets,
        "feed_forward_proj": "gated-gelu" if is_gated else "relu",
    }
