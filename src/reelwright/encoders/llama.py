"""The LLaMA text encoder: prompts to one vector for each token, taken two layers before the last.

The prompt stands in a chat after an instruction, whose own features are cut off (HunyuanVideo,
arXiv 2412.03603).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from torch.nn import functional as F

from reelwright.checkpoint.key_map import KeyMap, same_names
from reelwright.checkpoint.layout_fit import Shape
from reelwright.core.errors import CheckpointError
from reelwright.encoders.pretrained import NetworkKind, Pretrained, count_heads, count_layers, part_of
from reelwright.encoders.tokenizer import TOKENIZER_FILE, PromptTokenizer, TokenizerKind

SYSTEM_PROMPT = (
    "Describe the video by detailing the following aspects: "
    "1. The main content and theme of the video."
    "2. The color, shape, size, texture, quantity, text, and spatial relationships of the objects."
    "3. Actions, events, behaviors temporal relationships, physical movement changes of the objects."
    "4. background environment, light, style and atmosphere."
    "5. camera angles, movements, and transitions used in the video:"
)
"""The released instruction. No space stands before the numbers 2 to 5: the models were trained so."""
MAX_TOKENS = 256
"""Tokens of a prompt, the one that ends it included."""
PADDED_TOKENS = 512
"""Rows of the features, zeros after those of the prompt."""

_BEGIN, _END = "<|begin_of_text|>", "<|eot_id|>"
_START_ROLE, _END_ROLE = "<|start_header_id|>", "<|end_header_id|>"
_RELEASED_TOKENS = 128_000
_RELEASED_CROP = 95
_NUM_LAYERS_UNREAD = 2
_HEAD_SIZE = 128

_LAYER = "layers.{n}"
_ATTENTION = [f"{_LAYER}.self_attn.{part}_proj.weight" for part in "qkvo"]
_FEED_FORWARD = [f"{_LAYER}.mlp.{part}_proj.weight" for part in ("gate", "up", "down")]
_NORMS = [f"{_LAYER}.{part}_layernorm.weight" for part in ("input", "post_attention")]
LLAMA_LAYOUT = KeyMap(
    name="LLaMA",
    rules=same_names(["embed_tokens.weight", *_ATTENTION, *_FEED_FORWARD, *_NORMS, "norm.weight"]),
    dropped=(
        "lm_head.weight",
        "tokenizer*",
        "*.rotary_emb.inv_freq",
        "vision_tower.*",
        "multi_modal_projector.*",
    ),
    prefixes=(
        "text_encoders.llama.transformer.model.",
        "text_encoders.llama.transformer.",
        "language_model.model.",
        "model.language_model.",
        "language_model.",
        "model.",
    ),
)


@dataclass(frozen=True, kw_only=True)
class LlamaFeatures:
    """Features of prompts."""

    states_BLD: Tensor
    """[B, 512, D]; a row is zero after the prompt's last token."""
    lengths: tuple[int, ...]
    """Of each prompt in tokens, at least 1."""


class LlamaText:
    """The tokenizer and, from its first use until it is released, the encoder of a model.

    `encoder_path` is a single file, a folder with weights and config.json, a shard in it, or a whole model
    with the folder `text_encoder`; `tokenizer_path` a folder with tokenizer.json, or such a model.
    """

    def __init__(self, encoder_path: Path, tokenizer_path: Path) -> None:
        self.encoder_path = part_of(encoder_path, "text_encoder")
        self.tokenizer_path = part_of(tokenizer_path, "tokenizer")
        self.encoder = Pretrained(self.encoder_path, _LLAMA)

    @property
    def width(self) -> int:
        """Features per token."""
        return int(self.encoder.config.hidden_size)

    def check(self) -> None:
        """Raise CheckpointError if a file is missing or damaged, or does not belong to the others."""
        self.encoder.check()
        self.check_tokenizer()

    def check_tokenizer(self) -> None:
        """Raise CheckpointError if the tokenizer is damaged, or does not belong to the encoder's settings."""
        unknown = self._tokenizer.unknown((_BEGIN, _END, _START_ROLE, _END_ROLE))
        if unknown:
            raise CheckpointError(
                f"{self.tokenizer_path}: the tokenizer does not know {', '.join(unknown)}."
                " Give that of LLaMA 3, as the model's folder `tokenizer` has it."
            )
        crop = self.crop_start()
        if self._tokenizer.num_words == _RELEASED_TOKENS and crop != _RELEASED_CROP:
            raise CheckpointError(
                f"{self.tokenizer_path}: makes {crop} tokens of the released instruction, not"
                f" {_RELEASED_CROP}. Give the tokenizer that was released with the model."
            )
        self._tokenizer.check_belongs(self.encoder_path, self.encoder.config.vocab_size)

    def crop_start(self, system_prompt: str = "") -> int:
        """How many tokens stand before the prompt; 95 for the released instruction and tokenizer."""
        return len(self._tokenizer.tokenize(_before(system_prompt))[0])

    def tokenize(self, prompt: str, system_prompt: str = "") -> tuple[list[int], str]:
        """All tokens of the chat, at most 256 after the instruction; and the text cut off, if any."""
        before = _before(system_prompt)
        ids, dropped = self._tokenizer.tokenize(
            before + prompt + _END, self.crop_start(system_prompt) + MAX_TOKENS
        )
        return ids, dropped.removesuffix(_END)

    def count_tokens(self, prompt: str, system_prompt: str = "") -> int:
        """How many tokens a prompt has before it is cut, with the one that ends it."""
        ids, _ = self._tokenizer.tokenize(_before(system_prompt) + prompt + _END)
        return len(ids) - self.crop_start(system_prompt)

    def encode(
        self,
        prompts: Sequence[str],
        *,
        system_prompt: str = "",
        device: torch.device | str,
        dtype: torch.dtype,
    ) -> LlamaFeatures:
        """Features in `dtype` on `device`; an empty `system_prompt` stands for the released instruction.

        Loads the encoder at the first call. Each prompt runs alone, so it does not depend on its neighbors.
        """
        encoder = self.encoder.loaded(torch.device(device), dtype)
        crop = self.crop_start(system_prompt)
        with torch.no_grad():
            rows = [self._encode_one(encoder, self.tokenize(prompt, system_prompt)[0]) for prompt in prompts]
        states = [row[:, crop:] for row in rows]
        lengths = tuple(state.shape[1] for state in states)
        padded = [F.pad(state, (0, 0, 0, PADDED_TOKENS - state.shape[1])) for state in states]
        return LlamaFeatures(states_BLD=torch.cat(padded).to(dtype), lengths=lengths)

    def release(self) -> None:
        """Give back the encoder's memory; the next `encode` loads it again."""
        self.encoder.release()

    def _encode_one(self, encoder: "transformers.LlamaModel", ids: list[int]) -> Tensor:
        # No padding and so no mask: attention looks back only, and padding would stand at the end.
        tokens = torch.tensor([ids], device=encoder.device)
        states = encoder(input_ids=tokens, use_cache=False).last_hidden_state
        assert states is not None
        return states

    @cached_property
    def _tokenizer(self) -> PromptTokenizer:
        return PromptTokenizer(self.tokenizer_path, _TOKENIZER)


def _before(system_prompt: str) -> str:
    """What stands before the prompt."""
    system = f"{_START_ROLE}system{_END_ROLE}\n\n{system_prompt or SYSTEM_PROMPT}{_END}"
    return f"{_BEGIN}{system}{_START_ROLE}user{_END_ROLE}\n\n"


def llama_shapes(config: "transformers.LlamaConfig") -> dict[str, Shape]:
    """Of the network's tensors, with the layers that are not read. Raises ValueError if it is no LLaMA 3."""
    if config.attention_bias or config.mlp_bias:
        raise ValueError("its layers have biases")
    width, expanded = config.hidden_size, config.intermediate_size
    heads, pairs = config.num_attention_heads, config.num_key_value_heads or config.num_attention_heads
    if heads % pairs:
        raise ValueError(f"{heads} heads are no multiple of {pairs} for keys and values")
    head_size = config.head_dim or width // heads
    of_layer: dict[str, Shape] = {
        "self_attn.q_proj.weight": (heads * head_size, width),
        "self_attn.k_proj.weight": (pairs * head_size, width),
        "self_attn.v_proj.weight": (pairs * head_size, width),
        "self_attn.o_proj.weight": (width, heads * head_size),
        "mlp.gate_proj.weight": (expanded, width),
        "mlp.up_proj.weight": (expanded, width),
        "mlp.down_proj.weight": (width, expanded),
        "input_layernorm.weight": (width,),
        "post_attention_layernorm.weight": (width,),
    }
    layers = {
        f"{_LAYER.format(n=layer)}.{name}": shape
        for layer in range(config.num_hidden_layers)
        for name, shape in of_layer.items()
    }
    return {"embed_tokens.weight": (config.vocab_size, width), **layers, "norm.weight": (width,)}


def _settings(shapes: Mapping[str, Shape]) -> dict[str, Any]:
    """What shapes tell; the other settings are those of every LLaMA 3."""
    layer = _LAYER.format(n=0)
    vocab_size, width = shapes["embed_tokens.weight"]
    return {
        "vocab_size": vocab_size,
        "hidden_size": width,
        "intermediate_size": shapes[f"{layer}.mlp.gate_proj.weight"][0],
        "num_hidden_layers": count_layers(shapes, "layers"),
        "num_attention_heads": count_heads(shapes[f"{layer}.self_attn.q_proj.weight"][0], _HEAD_SIZE),
        "num_key_value_heads": count_heads(shapes[f"{layer}.self_attn.k_proj.weight"][0], _HEAD_SIZE),
        "head_dim": _HEAD_SIZE,
        "max_position_embeddings": 8192,
        "rms_norm_eps": 1e-5,
        "rope_theta": 500_000.0,
    }


def _build(config: "transformers.LlamaConfig") -> "transformers.LlamaModel":
    return transformers.LlamaModel(config)


def _finish(network: "transformers.LlamaModel") -> None:
    """Keep the layers whose output is read: that of the last but two is transformers' hidden_states[-3]."""
    network.layers = network.layers[:-_NUM_LAYERS_UNREAD]
    network.set_submodule("norm", nn.Identity())
    network.rotary_emb = type(network.rotary_emb)(network.config)


def _read_tokenizer(folder: Path) -> "transformers.PreTrainedTokenizerBase":
    # Not the class named after LLaMA: that of transformers 5 splits text as LLaMA 2 did, whatever the file.
    return transformers.PreTrainedTokenizerFast(tokenizer_file=str(folder / TOKENIZER_FILE))


_LLAMA = NetworkKind(
    title="LLaMA text encoder",
    example="llava_llama3_fp16.safetensors",
    model_types=("llama",),
    section="text_config",
    layouts=(LLAMA_LAYOUT,),
    settings=_settings,
    config=lambda settings: transformers.LlamaConfig(**settings),
    shapes=llama_shapes,
    network=_build,
    finish=_finish,
    stack="layers",
)
_TOKENIZER = TokenizerKind(
    files=((TOKENIZER_FILE,),),
    read=_read_tokenizer,
    num_closing=0,
    # Some released files put the first token there, some do not; the text has it in it.
    adds_special_tokens=False,
)
