"""Prompts and pictures of the small model as diffusers' pipeline encodes them."""

import warnings

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image

from reelwright.encoders.clip import ClipText
from reelwright.encoders.llama import LlamaText
from reelwright.encoders.siglip import SiglipImage
from reelwright.families.framepack.tiny import write_model

PROMPTS = (
    "a red fox runs over the floor",
    "",
    "  Two spaces,\nand 日本 ½",
    "a green ball falls in the snow, " * 60,
)
TOLERANCE = 2e-6


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    write_model(folder)
    return folder


@pytest.fixture(scope="module")
def pipeline(model_folder):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return diffusers.HunyuanVideoFramepackPipeline.from_pretrained(
            model_folder, torch_dtype=torch.float32
        )


def largest_error(found, expected):
    assert found.shape == expected.shape
    return float((found - expected).abs().max() / expected.abs().max())


def test_the_pipeline_loads_every_part(pipeline):
    assert isinstance(pipeline.transformer, diffusers.HunyuanVideoFramepackTransformer3DModel)
    assert isinstance(pipeline.vae, diffusers.AutoencoderKLHunyuanVideo)
    for part in (pipeline.text_encoder, pipeline.text_encoder_2, pipeline.image_encoder):
        assert not any(parameter.is_meta for parameter in part.parameters())


@pytest.mark.parametrize("prompt", PROMPTS)
def test_prompts_are_encoded_as_diffusers_does(model_folder, pipeline, prompt):
    """The released template and its 95 tokens fit the small tokenizer too."""
    with torch.no_grad():
        states, pooled, mask = pipeline.encode_prompt(prompt, device="cpu")
    length = int(mask.sum())
    features = LlamaText(model_folder, model_folder).encode([prompt], device="cpu", dtype=torch.float32)
    assert features.lengths == (length,)
    assert largest_error(features.states_BLD[:, :length], states[:, :length]) <= TOLERANCE
    assert not features.states_BLD[:, length:].any()
    own = ClipText(model_folder, model_folder).encode([prompt], device="cpu", dtype=torch.float32)
    assert largest_error(own, pooled) <= TOLERANCE


@pytest.fixture
def picture():
    values = np.random.default_rng(0).integers(0, 256, (160, 224, 3), dtype=np.uint8)
    return Image.fromarray(values)


def encode_picture(model_folder, picture):
    return SiglipImage(model_folder).encode([picture], device="cpu", dtype=torch.float32)


def test_pictures_are_encoded_as_the_parts_of_the_pipeline_do(model_folder, pipeline, picture):
    pixels = pipeline.feature_extractor(images=picture, return_tensors="pt").pixel_values
    with torch.no_grad():
        expected = pipeline.image_encoder(pixel_values=pixels).last_hidden_state
    assert largest_error(encode_picture(model_folder, picture), expected) <= TOLERANCE


def test_pictures_are_encoded_as_diffusers_does_but_for_its_rounding_down(model_folder, pipeline, picture):
    """diffusers makes fractions of the pixels and cuts them to whole numbers before it resizes."""
    pixels = pipeline.video_processor.preprocess(picture, 160, 224)
    with torch.no_grad():
        expected = pipeline.encode_image(pixels, device="cpu")
    rounded_down = ((pixels[0] + 1) / 2 * 255).to(torch.uint8).permute(1, 2, 0).numpy()
    assert (np.asarray(picture).astype(int) - rounded_down).min() >= 0
    assert (np.asarray(picture).astype(int) - rounded_down).max() == 1
    darker = Image.fromarray(rounded_down)
    assert largest_error(encode_picture(model_folder, darker), expected) <= TOLERANCE
    assert largest_error(encode_picture(model_folder, picture), expected) <= 0.03
