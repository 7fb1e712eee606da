"""The SigLIP image encoder against transformers' own network and processor used directly."""

import json
import shutil

import numpy as np
import pytest
import safetensors.torch
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from reelwright.core.errors import CheckpointError
from reelwright.encoders.siglip import SiglipImage, square_pixels


def picture(width, height, seed=0):
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


PICTURES = (picture(70, 40), picture(384, 384, 1), picture(500, 700, 2))


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    """Heads are as wide as those of the released network: no tensor of a single file tells how wide."""
    folder = tmp_path_factory.mktemp("siglip")
    config = transformers.SiglipVisionConfig(
        hidden_size=144,
        intermediate_size=80,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=384,
        patch_size=56,
        hidden_act="gelu_pytorch_tanh",
    )
    torch.manual_seed(0)
    network = transformers.SiglipVisionModel(config)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    network.save_pretrained(folder / "image_encoder")
    return folder


@pytest.fixture(scope="module")
def reference(model_folder):
    return transformers.SiglipVisionModel.from_pretrained(model_folder / "image_encoder").eval()


@pytest.fixture
def encoder(model_folder):
    return SiglipImage(model_folder / "image_encoder")


def released_pixels(image, side=384):
    processor = transformers.SiglipImageProcessorPil(size={"height": side, "width": side})
    return processor(images=image, return_tensors="pt").pixel_values


def encode(encoder, images=PICTURES, dtype=torch.float32):
    return encoder.encode(images, device="cpu", dtype=dtype)


def assert_near(found, expected, tolerance=1e-5):
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= tolerance * expected.abs().max()


def test_features_are_those_of_transformers(encoder, reference):
    with torch.no_grad():
        expected = torch.cat([reference(released_pixels(image)).last_hidden_state for image in PICTURES])
    assert expected.shape == (3, 36, 144)
    assert_near(encode(encoder), expected)


@given(width=st.integers(1, 90), height=st.integers(1, 90), side=st.integers(2, 48))
def test_pixels_are_those_of_the_released_processor_to_the_bit(width, height, side):
    image = picture(width, height, seed=width)
    assert torch.equal(square_pixels(image, side), released_pixels(image, side))


def test_features_of_a_picture_do_not_depend_on_its_neighbors(encoder):
    assert torch.equal(encode(encoder)[1:2], encode(encoder, PICTURES[1:2]))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 0.05), (torch.float16, 0.005)])
def test_short_number_formats_follow_transformers(model_folder, encoder, dtype, tolerance):
    reference = transformers.SiglipVisionModel.from_pretrained(model_folder / "image_encoder", dtype=dtype)
    with torch.no_grad():
        expected = reference.eval()(released_pixels(PICTURES[0]).to(dtype)).last_hidden_state
    features = encode(encoder, PICTURES[:1], dtype)
    assert features.dtype == expected.dtype == dtype
    assert_near(features, expected, tolerance)


@pytest.mark.parametrize("prefix", ["vision_model.", ""])
def test_a_single_file_needs_no_config(reference, encoder, tmp_path, prefix):
    """With the text half and the head of the whole network, which are not read."""
    file = {prefix + name: tensor.clone() for name, tensor in reference.state_dict().items()}
    file |= {"logit_scale": torch.ones(1), "logit_bias": torch.ones(1)}
    file["text_model.embeddings.token_embedding.weight"] = torch.ones(4, 4)
    safetensors.torch.save_file(file, tmp_path / "sigclip_vision_patch14_384.safetensors")
    single = SiglipImage(tmp_path / "sigclip_vision_patch14_384.safetensors")
    single.check()
    assert single.width == 144
    assert any(name.startswith(f"{prefix}head.") for name in file)
    assert torch.equal(encode(single), encode(encoder))


def test_a_whole_model_a_file_without_head_and_both_halves_will_do(
    model_folder, reference, encoder, tmp_path
):
    whole = SiglipImage(model_folder)
    whole.check()
    expected = encode(encoder)
    assert torch.equal(encode(whole), expected)
    kept = {n: t.clone() for n, t in reference.state_dict().items() if not n.startswith("head.")}
    safetensors.torch.save_file(kept, tmp_path / "no_head.safetensors")
    assert torch.equal(encode(SiglipImage(tmp_path / "no_head.safetensors")), expected)
    text = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.SiglipConfig(text_config=text, vision_config=reference.config.to_dict())
    both = transformers.SiglipModel(config)
    inner = getattr(both.vision_model, "vision_model", both.vision_model)
    inner.load_state_dict(reference.state_dict())
    both.save_pretrained(tmp_path / "both")
    half = SiglipImage(tmp_path / "both")
    half.check()
    assert torch.equal(encode(half), expected)


def test_a_released_file_is_read_as_the_released_network(tmp_path):
    """Shapes alone, with one layer: 27 x 27 patches of 14 pixels make 378, but the network sees 384."""
    config = transformers.SiglipVisionConfig(
        hidden_size=72,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=1,
        image_size=384,
        patch_size=14,
        hidden_act="gelu_pytorch_tanh",
    )
    state = transformers.SiglipVisionModel(config).state_dict()
    file = {f"vision_model.{name}": tensor.clone() for name, tensor in state.items()}
    safetensors.torch.save_file(file, tmp_path / "sigclip.safetensors")
    settings = SiglipImage(tmp_path / "sigclip.safetensors").encoder.config
    for name in ("image_size", "patch_size", "num_attention_heads", "layer_norm_eps", "hidden_act"):
        assert getattr(settings, name) == getattr(config, name)


def test_the_encoder_is_released_on_demand(encoder):
    encode(encoder)
    assert encoder.encoder.network is not None
    encoder.release()
    assert encoder.encoder.network is None


def message_of(path) -> str:
    with pytest.raises(CheckpointError) as caught:
        SiglipImage(path).check()
    return str(caught.value)


def test_what_is_wrong_with_the_encoder_is_told(model_folder, tmp_path):
    safetensors.torch.save_file({"proj_out.weight": torch.zeros(2)}, tmp_path / "vae.safetensors")
    assert "not a SigLIP image encoder" in message_of(tmp_path / "vae.safetensors")
    shutil.copytree(model_folder / "image_encoder", tmp_path / "image_encoder")
    described = tmp_path / "image_encoder" / "config.json"
    settings = json.loads(described.read_text())
    for change, expected in (
        ({"num_hidden_layers": 3}, "16 missing: encoder.layers.2"),
        ({"patch_size": 32}, "another shape"),
        ({"model_type": "clip_vision_model"}, "is of clip_vision_model"),
        ({"hidden_size": "wide"}, "is damaged"),
        (
            {"num_attention_heads": 5},
            "are of no SigLIP image encoder (a width of 144 is no multiple of 5 heads)",
        ),
        ({"image_size": [64, 48]}, "pictures of [64, 48] and patches of"),
    ):
        described.write_text(json.dumps({**settings, **change}))
        assert expected in message_of(tmp_path)
