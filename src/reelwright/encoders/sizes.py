"""How large encoders are, from their settings alone."""

import math
import re
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

from reelwright.checkpoint.layout_fit import Shape
from reelwright.encoders.clip import clip_shapes
from reelwright.encoders.llama import llama_shapes
from reelwright.encoders.siglip import count_patches, siglip_shapes
from reelwright.encoders.t5 import RELATIVE_POSITIONS, t5_shapes
from reelwright.protocols.estimates import EncoderSize

if TYPE_CHECKING:
    import transformers

_NUMBERED = re.compile(r".*?\.\d+(?=\.)")


def t5_size(config: "transformers.T5Config", num_tokens: int) -> EncoderSize:
    """The T5 encoder, for one prompt of so many tokens."""
    inner = config.num_heads * config.d_kv
    return _size(
        "T5",
        t5_shapes(config),
        num_tokens,
        tables=("shared.weight", RELATIVE_POSITIONS),
        widths=(config.d_model, inner, config.d_ff),
        heads=config.num_heads,
        is_large=True,
    )


def llama_size(config: "transformers.LlamaConfig", num_tokens: int, num_unread: int) -> EncoderSize:
    """LLaMA without its last layers, whose output is not read."""
    first_unread = config.num_hidden_layers - num_unread
    unread = tuple(f"layers.{layer}." for layer in range(first_unread, config.num_hidden_layers))
    shapes = {name: shape for name, shape in llama_shapes(config).items() if not name.startswith(unread)}
    return _size(
        "LLaMA",
        shapes,
        num_tokens,
        tables=("embed_tokens.weight",),
        widths=(config.hidden_size, config.hidden_size, config.intermediate_size),
        heads=config.num_attention_heads,
        is_large=True,
    )


def clip_size(config: "transformers.CLIPTextConfig") -> EncoderSize:
    """CLIP's text encoder."""
    return _size(
        "CLIP",
        clip_shapes(config),
        config.max_position_embeddings,
        tables=("embeddings.token_embedding.weight", "embeddings.position_embedding.weight"),
        widths=(config.hidden_size, config.hidden_size, config.intermediate_size),
        heads=config.num_attention_heads,
        is_large=False,
    )


def siglip_size(config: "transformers.SiglipVisionConfig") -> EncoderSize:
    """SigLIP's image encoder."""
    return _size(
        "SigLIP",
        siglip_shapes(config),
        count_patches(config),
        tables=("embeddings.position_embedding.weight",),
        widths=(config.hidden_size, config.hidden_size, config.intermediate_size),
        heads=config.num_attention_heads,
        is_large=False,
    )


def _size(
    name: str,
    shapes: Mapping[str, Shape],
    num_tokens: int,
    *,
    tables: tuple[str, ...],
    widths: tuple[int, int, int],
    heads: int,
    is_large: bool,
) -> EncoderSize:
    """tables: what is looked up, not multiplied. widths: of a token, of the heads together, and inside of the
    feed-forward."""
    counts = {name: math.prod(shape) for name, shape in shapes.items()}
    layers: Counter[str] = Counter()
    for tensor, count in counts.items():
        layers[_layer_of(tensor)] += count
    looked_up = [counts[table] for table in tables]
    width, inner, expanded = widths
    # Scores and the bias of positions are both of every pair of tokens, for each head.
    activations = num_tokens * (4 * width + max(4 * inner, 3 * expanded)) + 3 * heads * num_tokens**2
    return EncoderSize(
        name=name,
        num_parameters=layers.total(),
        largest_layer=max(*(count for layer, count in layers.items() if layer), *looked_up),
        activations=activations,
        flops=2.0 * num_tokens * (layers.total() - sum(looked_up)),
        is_text=name != "SigLIP",
        is_large=is_large,
    )


def _layer_of(name: str) -> str:
    """What stands before and with the first number in the name of a tensor; empty if there is none."""
    found = _NUMBERED.match(name)
    return found[0] if found else ""
