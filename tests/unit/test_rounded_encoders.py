"""Text encoders whose linear layers are held in few bits: near the same features, and told apart in keys."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import save_file
from torch import Tensor, nn

import reelwright
from reelwright.encoders.llama import LlamaText
from reelwright.encoders.pretrained import Pretrained, rounded_as
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


def draw_t5(folder: Path) -> tuple[nn.Module, Pretrained[Any, Any], int]:
    config = transformers.T5Config(
        vocab_size=50, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, feed_forward_proj="gated-gelu"
    )
    return transformers.T5EncoderModel(config), T5Text(folder / "encoder.safetensors", folder).encoder, -1


def draw_llama(folder: Path) -> tuple[nn.Module, Pretrained[Any, Any], int]:
    """Its last two layers are never read. Heads are of 128, which a single file does not tell."""
    config = transformers.LlamaConfig(
        vocab_size=50, hidden_size=128, intermediate_size=64, num_hidden_layers=3, num_attention_heads=1,
        num_key_value_heads=1, rms_norm_eps=1e-5, rope_theta=500_000.0,
    )  # fmt: skip
    return transformers.LlamaModel(config), LlamaText(folder / "encoder.safetensors", folder).encoder, -3


DRAWN = {"t5": draw_t5, "llama": draw_llama}


@pytest.mark.parametrize("has_scales", [True, False], ids=["scaled", "plain"])
@pytest.mark.parametrize("kind", DRAWN)
def test_files_in_fp8_of_other_programs_give_the_features_of_the_weights_they_stand_for(
    kind: str, has_scales: bool, tmp_path: Path
):
    torch.manual_seed(0)
    reference, encoder, place = DRAWN[kind](tmp_path)
    reference.eval()
    stored: dict[str, Tensor] = {"scaled_fp8": torch.zeros(2).to(torch.float8_e4m3fn)} if has_scales else {}
    for name, weight in reference.state_dict().items():
        is_embedding = weight.ndim < 2 or "embed" in name or "shared" in name or "bias" in name
        if is_embedding:
            stored[name] = weight.half()
            weight.copy_(stored[name])
            continue
        scale = weight.abs().max() / 448 if has_scales else torch.tensor(1.0)
        stored[name] = (weight / scale).to(torch.float8_e4m3fn)
        if has_scales:
            stored[name.removesuffix("weight") + "scale_weight"] = scale.clone()
        weight.copy_(stored[name].float() * scale)
    stored.pop("encoder.embed_tokens.weight", None)  # another name of shared.weight
    save_file(stored, encoder.path)
    encoder.check()
    ids = torch.arange(9)[None]
    with torch.no_grad():
        expected = reference(input_ids=ids, output_hidden_states=True).hidden_states[place]
        features = encoder.loaded(CPU, torch.float32)(input_ids=ids).last_hidden_state
    assert torch.allclose(features, expected, atol=1e-6)
