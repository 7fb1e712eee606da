"""Features of prompts and pictures: kept on disk and read from there, made by encoders where missing."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from reelwright.encoders.clip import ClipText
from reelwright.encoders.llama import LlamaText
from reelwright.encoders.siglip import SiglipImage
from reelwright.families.framepack.config import FramePackGenerate
from reelwright.families.framepack.embeddings import (
    Wording,
    encode_images,
    encode_prompts,
    wordings,
)
from reelwright.families.framepack.tiny import write_model

FOX, BALL = Wording(prompt="a red fox rises"), Wording(prompt="a green ball falls")
FINGERPRINTS = {
    "text_encoder": "1",
    "tokenizer": "2",
    "text_encoder_2": "3",
    "tokenizer_2": "4",
    "image_encoder": "5",
}


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    write_model(folder)
    return folder


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("REELWRIGHT_CACHE", str(tmp_path))


class Loads:
    """Counts how often encoders are loaded, and how many are in memory together at most."""

    def __init__(self, monkeypatch, encoders):
        self.names = []
        self.most_together = 0
        for name, owner in encoders.items():
            monkeypatch.setattr(owner.encoder, "loaded", self._watched(name, owner.encoder.loaded, encoders))

    def _watched(self, name, loaded, encoders):
        def watch(*arguments):
            network = loaded(*arguments)
            self.names.append(name)
            together = sum(owner.encoder.network is not None for owner in encoders.values())
            self.most_together = max(self.most_together, together)
            return network

        return watch


@pytest.fixture
def encoders(model_folder):
    return {
        "llama": LlamaText(model_folder, model_folder),
        "clip": ClipText(model_folder, model_folder),
        "siglip": SiglipImage(model_folder),
    }


@pytest.fixture
def loads(monkeypatch, encoders):
    return Loads(monkeypatch, encoders)


def prompt_features(encoders, wanted, dtype=torch.float32, **fingerprints):
    return encode_prompts(
        wanted,
        llama=encoders["llama"],
        clip=encoders["clip"],
        fingerprints=FINGERPRINTS | fingerprints,
        device=torch.device("cpu"),
        dtype=dtype,
    )


def image_features(encoders, images, **fingerprints):
    return encode_images(
        images,
        siglip=encoders["siglip"],
        fingerprints=FINGERPRINTS | fingerprints,
        device=torch.device("cpu"),
        dtype=torch.float32,
    )


def assert_same(found, expected):
    assert torch.equal(found.llama_BLD, expected.llama_BLD)
    assert found.length == expected.length
    assert torch.equal(found.pooled_BD, expected.pooled_BD)


def test_features_are_those_of_the_encoders(encoders):
    features = prompt_features(encoders, [FOX, BALL])
    states = encoders["llama"].encode([FOX.prompt, BALL.prompt], device="cpu", dtype=torch.float32)
    pooled = encoders["clip"].encode([FOX.prompt, BALL.prompt], device="cpu", dtype=torch.float32)
    for row, wording in enumerate((FOX, BALL)):
        assert torch.equal(features[wording].llama_BLD, states.states_BLD[row : row + 1])
        assert features[wording].length == states.lengths[row]
        assert torch.equal(features[wording].pooled_BD, pooled[row : row + 1])


def test_each_encoder_is_loaded_alone_and_released(encoders, loads):
    prompt_features(encoders, [FOX, BALL, FOX])
    image_features(encoders, [picture(0), picture(1)])
    assert loads.names == ["llama", "llama", "clip", "clip", "siglip", "siglip"]
    assert loads.most_together == 1
    assert all(owner.encoder.network is None for owner in encoders.values())


def test_what_was_encoded_before_loads_no_encoder(encoders, loads):
    first = prompt_features(encoders, [FOX]), image_features(encoders, [picture(0)])
    loads.names.clear()
    again = prompt_features(encoders, [FOX]), image_features(encoders, [picture(0)])
    assert loads.names == []
    assert_same(again[0][FOX], first[0][FOX])
    assert torch.equal(again[1][0], first[1][0])


@pytest.mark.parametrize(
    ("change", "encoded"),
    [
        ({"text_encoder": "other"}, ["llama"]),
        ({"tokenizer": "other"}, ["llama"]),
        ({"text_encoder_2": "other"}, ["clip"]),
        ({"tokenizer_2": "other"}, ["clip"]),
        ({"dtype": torch.bfloat16}, ["llama", "clip"]),
        ({"image_encoder": "other"}, []),
    ],
)
def test_only_what_an_encoder_depends_on_makes_it_run_again(encoders, loads, change, encoded):
    prompt_features(encoders, [FOX])
    loads.names.clear()
    prompt_features(encoders, [FOX], **change)
    assert loads.names == encoded


def test_another_instruction_changes_what_llama_makes_and_nothing_else(encoders, loads):
    other = replace(FOX, system_prompt="Say what moves.")
    features = prompt_features(encoders, [FOX, other])
    assert loads.names == ["llama", "llama", "clip"]
    assert not torch.equal(features[FOX].llama_BLD, features[other].llama_BLD)
    assert torch.equal(features[FOX].pooled_BD, features[other].pooled_BD)


def test_pictures_are_told_apart_by_pixels_shape_and_encoder(encoders, loads):
    wide = Image.frombytes("RGB", (20, 10), picture(0, 10, 20).tobytes())
    image_features(encoders, [picture(0, 10, 20), picture(1, 10, 20), wide])
    assert loads.names == ["siglip"] * 3
    image_features(encoders, [wide], image_encoder="other")
    assert loads.names == ["siglip"] * 4


def test_the_negative_prompt_is_encoded_only_if_guidance_reads_it():
    config = FramePackGenerate(prompt="unused", negative_prompt="bad", system_prompt="Look.")
    sections = ["a fox", "a ball"]
    plain = [Wording(prompt=prompt, system_prompt="Look.") for prompt in sections]
    assert wordings(config, sections) == plain
    guided = replace(config, guidance_scale=2.0)
    assert wordings(guided, sections) == [*plain, Wording(prompt="bad", system_prompt="Look.")]


def picture(seed, width=64, height=48):
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)
