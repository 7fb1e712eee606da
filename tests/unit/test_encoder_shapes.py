"""Names, shapes and sizes of encoders, told by rule, against the networks that transformers makes."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
import transformers
from torch import nn

from reelwright.checkpoint.layout_fit import Shape
from reelwright.checkpoint.loading import expected_shapes
from reelwright.encoders.clip import clip_shapes
from reelwright.encoders.llama import llama_shapes
from reelwright.encoders.siglip import siglip_shapes
from reelwright.encoders.sizes import clip_size, llama_size, siglip_size, t5_size
from reelwright.encoders.t5 import t5_shapes
from reelwright.protocols.estimates import EncoderSize

T5_XXL = {"vocab_size": 32128, "d_model": 4096, "num_layers": 24, "num_heads": 64, "d_kv": 64, "d_ff": 10240}
LLAMA_8B = {
    **{"vocab_size": 128320, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32},
    **{"num_attention_heads": 32, "num_key_value_heads": 8},
}
CLIP_L = {"vocab_size": 49408, "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12}
SIGLIP = {"hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27, "num_attention_heads": 16}
SETTINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "T5-XXL": ("t5", {**T5_XXL, "feed_forward_proj": "gated-gelu"}),
    "T5 without gates": ("t5", {"num_layers": 3, "num_heads": 5, "d_kv": 6, "d_model": 16, "d_ff": 20}),
    "T5 of other distances": ("t5", {"num_layers": 1, "relative_attention_num_buckets": 8}),
    "LLaMA 3 8B": ("llama", LLAMA_8B),
    "LLaMA of one head for all": (
        "llama",
        {"num_hidden_layers": 3, "hidden_size": 32, "num_attention_heads": 4, "num_key_value_heads": 1},
    ),
    "LLaMA of wide heads": (
        "llama",
        {"num_hidden_layers": 3, "hidden_size": 32, "num_attention_heads": 4, "head_dim": 12},
    ),
    "CLIP-L": ("clip", {**CLIP_L, "num_attention_heads": 12}),
    "CLIP of few positions": ("clip", {"num_hidden_layers": 2, "max_position_embeddings": 9}),
    "SigLIP so400m": ("siglip", {**SIGLIP, "image_size": 384, "patch_size": 14}),
    "SigLIP of gray pictures": ("siglip", {"num_hidden_layers": 1, "num_channels": 1, "image_size": 40}),
}


def shapes_and_network(kind: str, settings: dict[str, Any]) -> tuple[Mapping[str, Shape], nn.Module]:
    with torch.device("meta"):
        match kind:
            case "t5":
                t5 = transformers.T5Config(**settings)
                return t5_shapes(t5), transformers.T5EncoderModel(t5)
            case "llama":
                llama = transformers.LlamaConfig(**settings)
                return llama_shapes(llama), transformers.LlamaModel(llama)
            case "clip":
                clip = transformers.CLIPTextConfig(**settings)
                return clip_shapes(clip), transformers.CLIPTextModel(clip)
            case _:
                siglip = transformers.SiglipVisionConfig(**settings, vision_use_head=False)
                return siglip_shapes(siglip), transformers.SiglipVisionModel(siglip)


@pytest.mark.parametrize("name", SETTINGS)
def test_shapes_are_those_of_the_network(name: str) -> None:
    kind, settings = SETTINGS[name]
    shapes, network = shapes_and_network(kind, settings)
    assert shapes == expected_shapes(network)


@pytest.mark.parametrize("name", SETTINGS)
def test_sizes_are_those_of_the_network(name: str) -> None:
    kind, settings = SETTINGS[name]
    _, network = shapes_and_network(kind, settings)
    if isinstance(network, transformers.LlamaModel):
        network.layers = network.layers[:-2]
    size = size_of(kind, network)
    # T5's table of words is one under two names.
    tables = {
        each.weight: each.weight.numel() for each in network.modules() if isinstance(each, nn.Embedding)
    }
    stack = max((each for each in network.modules() if isinstance(each, nn.ModuleList)), key=len)
    largest = max(sum(each.numel() for each in layer.parameters()) for layer in stack)
    parameters = sum(each.numel() for each in network.parameters())
    assert size.num_parameters == parameters
    assert size.largest_layer == max(largest, *tables.values())
    assert size.flops == 2 * tokens_of(network) * (parameters - sum(tables.values()))


def size_of(kind: str, network: nn.Module) -> EncoderSize:
    config: Any = network.config
    tokens = tokens_of(network)
    if kind == "t5":
        return t5_size(config, tokens)
    if kind == "llama":
        return llama_size(config, tokens, num_unread=2)
    return clip_size(config) if kind == "clip" else siglip_size(config)


def tokens_of(network: nn.Module) -> int:
    """7 where the prompt decides, else as many as the network has positions."""
    if isinstance(network, transformers.CLIPTextModel | transformers.SiglipVisionModel):
        table = network.get_submodule("embeddings.position_embedding")
        assert isinstance(table, nn.Embedding)
        return table.num_embeddings
    return 7
