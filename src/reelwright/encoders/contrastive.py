"""What networks that were trained on pairs of texts and images share: CLIP and SigLIP."""

from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_LAYER = "encoder.layers.{n}"
LAYER_NAMES = (
    *(f"{_LAYER}.self_attn.{part}_proj.*" for part in ("q", "k", "v", "out")),
    *(f"{_LAYER}.{part}.*" for part in ("layer_norm1", "layer_norm2", "mlp.fc1", "mlp.fc2")),
)
"""Templates of the tensors of all layers."""


def count_positions(network: "PreTrainedModel") -> None:
    """Give a network on the meta device the numbers of its positions, which no file need hold."""
    embeddings = network.get_submodule("embeddings")
    table = embeddings.get_submodule("position_embedding")
    assert isinstance(table, nn.Embedding)
    positions = torch.arange(table.num_embeddings).unsqueeze(0)
    embeddings.register_buffer("position_ids", positions, persistent=False)
