"""Every released network, without its weights: names, shapes and counts."""

import math

import pytest
import torch
from torch import Tensor

from reelwright.families.cogvideox.autoencoder import CogVideoXAutoencoder
from reelwright.families.cogvideox.config import TRANSFORMERS, AutoencoderConfig
from reelwright.families.cogvideox.key_maps import DIFFUSERS_AUTOENCODER, DIFFUSERS_TRANSFORMER
from reelwright.families.cogvideox.transformer import CogVideoXTransformer

from .released import reference_autoencoder, reference_transformer

NUM_PARAMETERS = {
    "2b": 1_693_783_872,
    "5b": 5_570_283_072,
    "5b-i2v": 5_570_479_680,
    "1.5-5b": 5_570_676_352,
    "1.5-5b-i2v": 5_571_594_880,
}
NUM_TENSORS = {"2b": 736, "5b": 1024, "5b-i2v": 1025, "1.5-5b": 1024, "1.5-5b-i2v": 1028}
"""As counted in the specification (CogVideoX 0)."""


def shapes_of(tensors: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


@pytest.mark.parametrize("variant", TRANSFORMERS)
def test_a_released_transformer_has_the_names_and_shapes_of_the_reference(variant):
    with torch.device("meta"):
        ours = CogVideoXTransformer(TRANSFORMERS[variant])
        reference = reference_transformer(TRANSFORMERS[variant])
    saved = shapes_of(DIFFUSERS_TRANSFORMER.to_file(ours.state_dict()))
    assert saved == shapes_of(reference.state_dict())
    if variant in NUM_PARAMETERS:
        assert sum(parameter.numel() for parameter in ours.parameters()) == NUM_PARAMETERS[variant]
        assert len(saved) == NUM_TENSORS[variant]


def test_the_learned_table_of_positions_is_a_buffer_of_the_released_size():
    with torch.device("meta"):
        ours = CogVideoXTransformer(TRANSFORMERS["5b-i2v"])
    ((name, table),) = ours.named_buffers()
    assert name == "patch_embedding.positions"
    assert table.numel() == 54_607_872
    assert math.prod(table.shape[:2]) == 226 + 13 * 30 * 45


def test_the_released_autoencoder_has_the_names_and_shapes_of_the_reference():
    with torch.device("meta"):
        ours = CogVideoXAutoencoder(AutoencoderConfig())
        reference = reference_autoencoder(AutoencoderConfig())
    saved = shapes_of(DIFFUSERS_AUTOENCODER.to_file(ours.state_dict()))
    assert saved == shapes_of(reference.state_dict())
    assert len(saved) == 436
    counts = [
        sum(parameter.numel() for parameter in part.parameters())
        for part in (ours, ours.encoder, ours.decoder)
    ]
    assert counts[0] == 215_583_907
    assert [round(count / 1e6, 1) for count in counts[1:]] == [92.2, 123.4]
