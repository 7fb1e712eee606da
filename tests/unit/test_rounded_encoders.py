"""Text encoders whose linear layers are held in few bits: near the same features, and told apart in keys."""

from pathlib import Path

import pytest
import torch

import reelwright
from reelwright.encoders.pretrained import rounded_as
from reelwright.encoders.t5 import T5Text
from reelwright.execution.weights import held_formats, round_encoder
from reelwright.protocols.policy_configs import TextWeights

ASSETS = Path(reelwright.__file__).parent / "assets" / "cogvideox-tiny"
CPU = torch.device("cpu")


@pytest.mark.parametrize("wanted", ["fp8", "int8"])
def test_features_are_nearly_the_same_and_keys_are_not(wanted: TextWeights):
    full, rounded = (T5Text(ASSETS / "text_encoder", ASSETS / "tokenizer") for _ in range(2))
    round_encoder(rounded.encoder, wanted, CPU)
    features = [each.encode(["a red ball"], 16, device=CPU, dtype=torch.float32) for each in (full, rounded)]
    assert rounded.encoder.network is not None
    assert held_formats(rounded.encoder.network)
    error = (features[1] - features[0]).norm() / features[0].norm()
    assert 0 < error < 0.1
    assert (rounded_as(full.encoder), rounded_as(rounded.encoder)) == ({}, {"text_weights": wanted})
