"""Names in released transformer files, and what their shapes tell."""

from dataclasses import asdict

import pytest
import torch

from reelwright.core.errors import CheckpointError
from reelwright.families.framepack.config import TransformerConfig
from reelwright.families.framepack.key_maps import RELEASED_TRANSFORMER, describe_transformer
from reelwright.families.framepack.transformer import FramePackTransformer

SIZES = TransformerConfig(
    num_attention_heads=1,
    num_layers=2,
    num_single_layers=3,
    num_refiner_layers=1,
    mlp_ratio=2.0,
    text_embed_dim=12,
    pooled_projection_dim=6,
    image_proj_dim=10,
)


def state_of(config: TransformerConfig) -> dict[str, torch.Tensor]:
    with torch.device("meta"):
        return FramePackTransformer(config).state_dict()


def file_shapes(config: TransformerConfig, prefix: str = "") -> dict[str, tuple[int, ...]]:
    saved = RELEASED_TRANSFORMER.to_file(state_of(config))
    return {prefix + name: tuple(tensor.shape) for name, tensor in saved.items()}


def test_names_go_to_a_file_and_come_back():
    state = state_of(SIZES)
    back = RELEASED_TRANSFORMER.to_ours(RELEASED_TRANSFORMER.to_file(state))
    assert {name: tensor.shape for name, tensor in back.items()} == {
        name: tensor.shape for name, tensor in state.items()
    }


@pytest.mark.parametrize("prefix", ["", "model.diffusion_model.", "transformer.", "module."])
def test_a_single_file_tells_the_sizes_whatever_stands_before_its_names(prefix):
    described = describe_transformer(file_shapes(SIZES, prefix), "a file")
    assert TransformerConfig(**described) == SIZES
    assert set(asdict(SIZES)) - set(described) == {"rope_theta"}


def test_another_network_is_named_by_its_first_tensors():
    with pytest.raises(CheckpointError, match=r"a file: .*FramePack transformer.*blocks\.0\.weight"):
        describe_transformer({"blocks.0.weight": (4, 4)}, "a file")


def test_heads_of_another_size_need_the_configuration():
    small = TransformerConfig(
        num_attention_heads=2,
        attention_head_dim=32,
        num_layers=1,
        num_single_layers=1,
        rope_axes_dim=(8, 12, 12),
    )
    with pytest.raises(CheckpointError, match=r"32 channels.*config\.json"):
        describe_transformer(file_shapes(small), "a file")
