"""FramePack to train: what caches and models must be, what LoRAs say, and how they are then used."""

import json
import shutil
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save_file

from reelwright.core.config import to_mapping
from reelwright.core.errors import ConfigError
from reelwright.families.framepack import generate, train_samples
from reelwright.families.framepack.checkpoints import load_transformer, locate
from reelwright.families.framepack.config import (
    FramePackCacheLatents,
    FramePackCacheText,
    FramePackGenerate,
    FramePackNoiseConfig,
    FramePackSamples,
    FramePackTrain,
    TransformerConfig,
)
from reelwright.families.framepack.generate import FramePackSession
from reelwright.families.framepack.lora_facts import LoraFacts, read_lora_facts
from reelwright.families.framepack.one_frame import OneFrameOptions, parse_one_frame, write_one_frame
from reelwright.families.framepack.requests import resolve
from reelwright.families.framepack.training import TRAINING
from reelwright.families.framepack.transformer import FramePackTransformer
from reelwright.protocols.family import Segment
from reelwright.protocols.training import TrainingData

from .framepack_clips import dataset

TINY = Path(str(files("reelwright") / "assets" / "framepack-tiny"))
CPU = torch.device("cpu")
KISEKAE = {"fp_1f_clean_indices": (0, 10), "fp_1f_target_index": 1, "fp_1f_no_post": True}


def data_of(mode="base", *datasets, system_prompt="", **options):
    return TrainingData(
        latents=FramePackCacheLatents(mode=mode, **options),
        texts=FramePackCacheText(system_prompt=system_prompt),
        datasets=datasets or (dataset(),),
    )


def model_folder(place, direction):
    """The embedded model, but known to be for one direction."""
    shutil.copytree(TINY, place)
    (place / "reelwright.json").write_text(json.dumps({"direction": direction, "resolution": "128"}))
    return place


def training_model(data, **options):
    return TRAINING.locate(FramePackTrain(**options), data)


# What is trained.


def test_files_say_which_model_mode_and_window_they_were_trained_for():
    metadata = training_model(data_of("f1", dataset(5))).metadata
    assert metadata["ss_base_model_version"] == "framepack"
    assert metadata["modelspec.architecture"] == "framepack/lora"
    assert metadata["modelspec.implementation"] == "https://github.com/lllyasviel/FramePack"
    assert (metadata["ss_fp_variant"], metadata["ss_latent_window_size"]) == ("f1", "5")
    assert metadata["ss_guidance_scale"] == "10.0"
    assert "ss_fp_one_frame" not in metadata
    assert training_model(data_of()).metadata["ss_fp_variant"] == "base"


def test_files_of_single_frames_say_their_layout_as_generate_takes_it():
    data = data_of("one_frame", dataset(**KISEKAE), one_frame_no_2x=True, one_frame_no_4x=True)
    metadata = training_model(data).metadata
    assert metadata["ss_fp_variant"] == "one_frame"
    assert metadata["ss_fp_one_frame"] == "target_index=1,control_index=0;10,no_2x,no_4x,no_post"


def test_a_lora_of_several_windows_or_layouts_says_none():
    model = training_model(data_of("base", dataset(5), dataset(9)))
    assert "ss_latent_window_size" not in model.metadata
    assert any("fp_latent_window_size: the data sets have 5 and 9" in said for said in model.notices)


@pytest.mark.parametrize(("mode", "direction"), [("base", "forward"), ("f1", "backward")])
def test_caches_of_the_other_model_are_refused(tmp_path, mode, direction):
    folder = model_folder(tmp_path / "model", direction)
    with pytest.raises(ConfigError, match="Train the other model") as caught:
        training_model(data_of(mode), model=str(folder))
    names = {"base": "FramePack", "f1": "FramePack-F1"}
    assert f"the caches are of {names[mode]}, and" in str(caught.value)
    training_model(data_of("f1" if direction == "forward" else "base"), model=str(folder))


def test_noise_settings_are_checked_before_anything_is_looked_for():
    noise = FramePackNoiseConfig(weighting="mode")
    with pytest.raises(ConfigError, match=r"^weighting: mode"):
        training_model(data_of(), noise=noise, model="nowhere")


def test_caches_are_compared_with_the_parts_of_the_model_that_is_trained(tmp_path):
    config = FramePackTrain(vae=tmp_path / "vae", text_encoder_2=tmp_path / "clip", offline=True, mode="f1")
    data = data_of("base", form="compact", posterior="moments")
    latents, texts = TRAINING.caches(config, data.latents, data.texts)
    changed = {"mode": "f1", "form": "compact", "posterior": "moments"}
    parts = {"vae": str(tmp_path / "vae"), "offline": True}
    assert to_mapping(latents, only_changed=True) == {**changed, **parts}
    assert to_mapping(texts, only_changed=True) == {
        "text_encoder_2": str(tmp_path / "clip"),
        "offline": True,
    }


@pytest.mark.parametrize(("direction", "mode"), [("forward", "f1"), ("backward", "base"), ("both", "base")])
def test_compact_caches_are_read_as_the_model_needs_them(tmp_path, direction, mode):
    folder = model_folder(tmp_path / "model", direction)
    config = FramePackTrain(model=str(folder))
    compact, compatible = data_of(form="compact"), data_of()
    assert TRAINING.caches(config, compact.latents, compact.texts)[0].mode == mode
    assert TRAINING.caches(config, compatible.latents, compatible.texts)[0].mode == "base"


def test_fp8_is_for_the_440_layers_of_the_released_size():
    """specs: FramePack 6.6."""
    with torch.device("meta"):
        network = FramePackTransformer(TransformerConfig())
    linear = {
        f"{stack}.{name}": each
        for stack in ("double_blocks", "single_blocks")
        for name, each in network.get_submodule(stack).named_modules()
        if isinstance(each, torch.nn.Linear)
    }
    chosen = [each for name, each in linear.items() if TRAINING.quantized(name)]
    assert (len(chosen), sum(each.weight.numel() for each in chosen)) == (440, 9_059_696_640)


# What LoRAs say.


@given(
    st.builds(
        OneFrameOptions,
        target_index=st.lists(st.integers(0, 99), unique=True).map(tuple),
        control_index=st.lists(st.integers(0, 99)).map(tuple),
        no_2x=st.booleans(),
        no_4x=st.booleans(),
        no_post=st.booleans(),
    )
)
def test_options_of_single_frames_are_read_as_they_were_written(options):
    assert parse_one_frame(write_one_frame(options)) == options


@pytest.mark.parametrize(
    "facts",
    [
        LoraFacts(variant="f1", window=9),
        LoraFacts(variant="one_frame", window=5, one_frame="target_index=1,no_post"),
        LoraFacts(),
    ],
    ids=["f1", "one frame", "nothing"],
)
def test_what_a_file_says_is_read_as_it_was_written(facts):
    assert read_lora_facts(facts.metadata(), "") == facts


def test_metadata_that_nobody_knows_is_told_with_its_file():
    told = {"ss_fp_variant": "f2", "ss_latent_window_size": "many"}
    assert read_lora_facts(told, "a") == LoraFacts(file="a")
    with pytest.raises(ConfigError, match=r"^a: ss_fp_one_frame: no_3x is unknown"):
        read_lora_facts({"ss_fp_one_frame": "no_3x"}, "a")


# How they are used.


@pytest.fixture
def lora(tmp_path):
    """Makes a LoRA of one module that says some facts."""
    width = locate(FramePackGenerate()).transformer.width

    def make(name="fox.safetensors", **facts):
        tensors = {
            "lora_unet_transformer_blocks_0_attn_to_q.lora_down.weight": torch.ones(2, width),
            "lora_unet_transformer_blocks_0_attn_to_q.lora_up.weight": torch.zeros(width, 2),
            "lora_unet_transformer_blocks_0_attn_to_q.alpha": torch.tensor(2.0),
        }
        save_file(tensors, tmp_path / name, {"format": "pt", **LoraFacts(**facts).metadata()})
        return tmp_path / name

    return make


def resolved(*loras, **options):
    """What is made, and all that is said of the LoRAs."""
    config = FramePackGenerate(prompt="a fox", lora=loras, **options)
    model = locate(config)
    request = resolve(config, model)
    said = [text for text in (*model.notices, *request.notices) if "was trained" in text]
    return request, said


def test_a_lora_sets_direction_and_window(lora):
    request, said = resolved(lora(variant="f1", window=5))
    assert (request.direction, request.config.latent_window_size) == ("forward", 5)
    assert said == [
        "direction: fox.safetensors was trained on F1, so sections are made forward.",
        "latent_window_size: 5, with which fox.safetensors was trained. To do otherwise, add --lora-settings"
        " ignore.",
    ]


def test_a_lora_of_single_frames_makes_single_frames(lora, tmp_path):
    Image.new("RGB", (64, 64)).save(tmp_path / "control.png")
    layout = "target_index=1,control_index=0,no_post"
    path = lora(variant="one_frame", window=9, one_frame=layout)
    request, said = resolved(path, control_image=(tmp_path / "control.png",))
    assert request.one_frame == OneFrameOptions(target_index=(1,), control_index=(0,), no_post=True)
    assert (request.config.one_frame, request.config.format) == (layout, "png")
    assert len(said) == 1


def test_what_is_asked_for_goes_over_what_a_lora_says(lora):
    path = lora(variant="one_frame", window=5, one_frame="target_index=1")
    assert resolved(path, lora_settings="ignore")[0].config.latent_window_size == 9
    request, said = resolved(path, one_frame="target_index=3", latent_window_size=7)
    assert (request.one_frame.target_index, request.config.latent_window_size) == ((3,), 7)
    assert len(said) == 2
    assert all(text.endswith("expect less of it.") for text in said)
    assert resolved(path, video_sections=2)[0].one_frame is None
    forward = lora("forward.safetensors", variant="f1")
    request, said = resolved(forward, lora_settings="ignore")
    assert (request.direction, said) == ("backward", [])
    request, said = resolved(forward, direction="backward")
    assert request.direction == "backward"
    assert said == [
        "direction: forward.safetensors was trained on F1; sections are made backward, so expect less of it."
    ]


def test_a_lora_of_f1_on_the_base_model_is_told(lora, tmp_path):
    folder = model_folder(tmp_path / "model", "backward")
    request, said = resolved(lora(variant="f1", window=9), model=str(folder))
    assert request.direction == "backward"
    assert "so expect less of it" in said[0]


def test_of_loras_that_disagree_the_first_counts(lora):
    request, said = resolved(lora("a.safetensors", window=5), lora("b.safetensors", window=7))
    assert request.config.latent_window_size == 5
    assert "b.safetensors was trained with 7; with 5 expect less of it." in said[-1]


# Clips of what is trained.


def test_samples_are_made_as_the_caches_say():
    config = FramePackTrain(samples=FramePackSamples(steps=3))
    trained = TRAINING.locate(config, data_of("f1", dataset(5), system_prompt="Say more."))
    made = TRAINING.sampling.config(config, trained)
    assert (made.direction, made.latent_window_size, made.system_prompt) == ("forward", 5, "Say more.")
    assert (made.steps, made.distilled_guidance, made.video_sections) == (3, 10.0, 1)
    own = replace(config, samples=FramePackSamples(latent_window_size=2, system_prompt="Be brief."))
    made = TRAINING.sampling.config(own, trained)
    assert (made.latent_window_size, made.system_prompt) == (2, "Be brief.")
    pictures = TRAINING.locate(config, data_of("one_frame", dataset(fp_1f_target_index=9)))
    made = TRAINING.sampling.config(config, pictures)
    assert (made.one_frame, made.format) == ("target_index=9,control_index=0", "png")


def test_a_denoiser_that_is_trained_makes_the_clip_of_its_weights(monkeypatch, tmp_path):
    monkeypatch.setenv("REELWRIGHT_CACHE", str(tmp_path))
    config = FramePackTrain(samples=FramePackSamples(steps=1, height=32, width=32, latent_window_size=2))
    trained = TRAINING.locate(config, data_of())
    asked = replace(TRAINING.sampling.config(config, trained), prompt="a fox")
    model = locate(asked)
    requests = [resolve(asked, model)]
    expected = latents_of(FramePackSession(model, asked.execution), requests)
    denoiser = load_transformer(model, CPU, torch.float32)

    def refuse(*_args):
        raise AssertionError("a part was loaded that was there")

    TRAINING.sampling.encode(model, config, requests)
    monkeypatch.setattr(generate, "load_adapted", refuse)
    monkeypatch.setattr(type(model.llama), "encode", refuse)
    monkeypatch.setattr(type(model.siglip), "encode", refuse)
    made = latents_of(TRAINING.sampling.start(model, config, denoiser), requests)
    assert torch.equal(made, expected)
    with torch.no_grad():
        denoiser.output_projection.weight.mul_(2)
    changed = latents_of(train_samples.start(model, config, denoiser), requests)
    assert not torch.equal(changed, expected)


def latents_of(session, requests):
    made = list(session.generate(requests, lambda _: None))
    (segment,) = [each for each in made if isinstance(each, Segment)]
    return segment.latents_BCTHW
