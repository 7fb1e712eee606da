"""What networks that were trained on pairs of texts and images share: CLIP and SigLIP."""

from typing import TYPE_CHECKING

import torch
from torch import nn

from reelwright.checkpoint.layout_fit import Shape

if TYPE_CHECKING:
    from transformers import CLIPTextConfig, PreTrainedModel, SiglipVisionConfig

_LAYER = "encoder.layers.{n}"
LAYER_NAMES = (
    *(f"{_LAYER}.self_attn.{part}_proj.*" for part in ("q", "k", "v", "out")),
    *(f"{_LAYER}.{part}.*" for part in ("layer_norm1", "layer_norm2", "mlp.fc1", "mlp.fc2")),
)
"""Templates of the tensors of all layers."""


def layer_shapes(config: "CLIPTextConfig | SiglipVisionConfig") -> dict[str, Shape]:
    """Of the tensors of all layers. Raises ValueError if heads do not fit the width."""
    width, expanded, heads = config.hidden_size, config.intermediate_size, config.num_attention_heads
    if width % heads:
        raise ValueError(f"a width of {width} is no multiple of {heads} heads")
    matrices: dict[str, Shape] = {
        **{f"self_attn.{part}_proj": (width, width) for part in ("q", "k", "v", "out")},
        "mlp.fc1": (expanded, width),
        "mlp.fc2": (width, expanded),
    }
    of_layer: dict[str, Shape] = {
        **{f"{name}.weight": shape for name, shape in matrices.items()},
        **{f"{name}.bias": shape[:1] for name, shape in matrices.items()},
        **norm_shapes("layer_norm1", width),
        **norm_shapes("layer_norm2", width),
    }
    return {
        f"{_LAYER.format(n=layer)}.{name}": shape
        for layer in range(config.num_hidden_layers)
        for name, shape in of_layer.items()
    }


def norm_shapes(name: str, width: int) -> dict[str, Shape]:
    """Of a norm of that name."""
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def count_positions(network: "PreTrainedModel") -> None:
    """Give a network on the meta device the numbers of its positions, which no file need hold."""
    embeddings = network.get_submodule("embeddings")
    table = embeddings.get_submodule("position_embedding")
    assert isinstance(table, nn.Embedding)
    positions = torch.arange(table.num_embeddings).unsqueeze(0)
    embeddings.register_buffer("position_ids", positions, persistent=False)
