"""Checkpoints of CogVideoX to train: what is found, what is refused, what samples are made with."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from reelwright.core.errors import CheckpointError, ConfigError
from reelwright.families import load as load_family
from reelwright.families.cogvideox import generate
from reelwright.families.cogvideox.cache_parts import find_text_parts
from reelwright.families.cogvideox.checkpoints import Layout
from reelwright.families.cogvideox.config import (
    TRANSFORMERS,
    CogVideoXCacheLatents,
    CogVideoXCacheText,
    CogVideoXNoiseConfig,
    CogVideoXSamples,
    CogVideoXTrain,
    TransformerConfig,
)
from reelwright.families.cogvideox.generate import CogVideoXSession
from reelwright.families.cogvideox.requests import resolve
from reelwright.families.cogvideox.tiny import TINY_TRANSFORMER, write_model
from reelwright.families.cogvideox.training_model import CogVideoXTrainingModel
from reelwright.protocols.configs import ExecutionConfig
from reelwright.protocols.datasets import DatasetConfig
from reelwright.protocols.family import Segment
from reelwright.protocols.training import Training, TrainingData

ASSETS = Path(__file__).parents[2] / "src/reelwright/assets/cogvideox-tiny"
pytestmark = pytest.mark.usefixtures("small_tiny")
CPU = torch.device("cpu")
SECOND = replace(TINY_TRANSFORMER, patch_size_t=2, patch_bias=False)
MODELS = {
    "image": replace(TINY_TRANSFORMER, in_channels=32, use_learned_positional_embeddings=True),
    "control": replace(TINY_TRANSFORMER, in_channels=32),
    "inpaint": replace(TINY_TRANSFORMER, in_channels=33),
    "second image": replace(SECOND, in_channels=32, ofs_embed_dim=64),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Folders of models, by what they read; "text" is the embedded one."""
    root = tmp_path_factory.mktemp("models")
    for name, transformer in MODELS.items():
        write_model(root / name, transformer=transformer)
    return {"text": "tiny", **{name: str(root / name) for name in MODELS}}


def training() -> Training:
    found = load_family("cogvideox").training
    assert found is not None
    return found


def find(config: CogVideoXTrain, *, first_frame: str = "auto", **dataset: str) -> CogVideoXTrainingModel:
    """The model to train, with caches as its own parts make them."""
    made = CogVideoXCacheLatents(model="2b", first_frame=first_frame), CogVideoXCacheText(model="2b")
    latents, texts = training().caches(config, *made)
    named = DatasetConfig(**({"video_directory": "clips"} | dataset))
    found = training().locate(config, TrainingData(latents=latents, texts=texts, datasets=(named,)))
    assert isinstance(found, CogVideoXTrainingModel)
    return found


@pytest.mark.parametrize(
    ("name", "layout", "task"),
    [
        ("text", Layout.TEXT, "t2v"),
        ("image", Layout.IMAGE, "i2v"),
        ("second image", Layout.IMAGE, "i2v"),
        ("control", Layout.CONTROL, "control"),
        ("inpaint", Layout.INPAINT, "inpaint"),
    ],
)
def test_what_a_model_reads_is_found_and_told(models, name, layout, task):
    found = find(CogVideoXTrain(model=models[name]), control_directory="poses")
    assert found.layout is layout
    assert found.metadata["ss_task"] == task
    assert {"transformer", "scheduler"} <= found.fingerprints.keys()
    assert ("vae" in found.fingerprints) == (layout in (Layout.IMAGE, Layout.INPAINT))
    assert TransformerConfig.from_json(found.settings, "config.json") == found.transformer
    assert len(found.targets.usual_modules()) == 8
    assert (found.load(CPU, torch.float32).config.in_channels, found.adapter_layout) == (
        found.transformer.in_channels,
        "diffusers",
    )


@pytest.mark.parametrize(
    ("sizes", "version"), [("5b-i2v", "cogvideox-5b-i2v"), ("1.5-5b", "cogvideox-1.5-5b"), ("", "cogvideox")]
)
def test_a_folder_of_a_released_model_is_known_by_its_sizes(sizes, version):
    found = find(CogVideoXTrain())
    assert found.metadata["ss_base_model_version"] == "cogvideox-tiny"
    copied = replace(
        found,
        config=replace(found.config, model="some/folder", method="loha"),
        transformer=TRANSFORMERS.get(sizes, TINY_TRANSFORMER),
    )
    assert copied.metadata["modelspec.architecture"] == f"{version}/loha"


def test_text_and_clips_need_the_transformer_and_its_schedule_alone(tmp_path):
    for part in ("transformer", "scheduler"):
        shutil.copytree(ASSETS / part, tmp_path / part)
    found = find(CogVideoXTrain(model=str(tmp_path)))
    assert found.objective(CPU, torch.float32).channels is None
    with pytest.raises(CheckpointError, match="text_encoder"):
        find(CogVideoXTrain(model=str(tmp_path), noise=CogVideoXNoiseConfig(caption_dropout_to="empty")))


@pytest.mark.parametrize(
    ("name", "options", "noise"),
    [
        ("text", {}, {"logit_mean": 0.5}),
        ("text", {}, {"min_snr_gamma": 4.0}),
        ("text", {}, {"caption_dropout": 0.0, "caption_dropout_to": "empty"}),
        ("text", {}, {"condition_dropout": 0.1}),
        ("text", {}, {"image_noise": "on"}),
        ("image", {}, {"image_noise": "off", "image_noise_std": 0.1}),
        ("text", {"image_latent_scale": "raw"}, {}),
        ("text", {"condition": "control"}, {}),
        ("image", {"condition": "control"}, {}),
        ("second image", {"rope_grid": "released"}, {}),
        ("text", {}, {"min_timestep": 1000}),
        ("text", {}, {"explicit_uniform": True, "num_timestep_buckets": 8}),
    ],
    ids=lambda value: next(reversed(value), "none") if isinstance(value, dict) else value,
)
def test_options_without_effect_are_refused(models, name, options, noise):
    config = CogVideoXTrain(model=models[name], noise=CogVideoXNoiseConfig(**noise), **options)
    key = next(reversed({**options, **noise}))
    with pytest.raises(ConfigError, match=rf"(?m)^(noise\.)?{re.escape(key)}"):
        find(config)


@pytest.mark.parametrize(
    ("name", "first_frame", "message"),
    [
        ("image", "none", "no first frames"),
        ("inpaint", "latents", "no pixels of first frames"),
        ("control", "none", "clips: this model reads a control clip"),
    ],
)
def test_caches_without_what_the_model_reads_are_refused(models, name, first_frame, message):
    with pytest.raises(ConfigError, match=message):
        find(CogVideoXTrain(model=models[name]), first_frame=first_frame)


@pytest.mark.parametrize(
    ("first_frame", "image_noise", "is_noised", "is_encoded"),
    [
        ("auto", "auto", True, True),
        ("both", "off", False, False),
        ("latents", "auto", False, False),
        ("pixels", "off", False, True),
    ],
)
def test_the_autoencoder_loads_where_images_are_noised_or_not_encoded(
    models, first_frame, image_noise, is_noised, is_encoded
):
    config = CogVideoXTrain(model=models["image"], noise=CogVideoXNoiseConfig(image_noise=image_noise))
    channels = find(config, first_frame=first_frame).objective(CPU, torch.float32).channels
    assert channels is not None
    assert (channels.is_noised, channels.space is not None) == (is_noised, is_encoded)


def test_images_are_scaled_as_generation_scales_them(models):
    for name, chosen, scale in (
        ("image", "auto", 0.7),
        ("second image", "auto", 1.0),
        ("second image", "inverse", 1 / 0.7),
    ):
        found = find(CogVideoXTrain(model=models[name], image_latent_scale=chosen), first_frame="latents")
        channels = found.objective(CPU, torch.float32).channels
        assert channels is not None
        assert (channels.image_scale, channels.clip_scale) == (scale, 0.7)


def test_the_end_of_the_schedule_is_as_asked():
    for chosen, last in (("auto", 0.0), ("on", 0.0), ("off", 0.00466)):
        noise = CogVideoXNoiseConfig(zero_terminal_snr=chosen)
        alphas = find(CogVideoXTrain(noise=noise)).objective(CPU, torch.float32).alphas
        assert alphas[-1].item() == pytest.approx(last, abs=1e-5)


def test_the_empty_caption_is_that_of_the_caches_and_its_encoder_is_let_go():
    found = find(CogVideoXTrain(noise=CogVideoXNoiseConfig(caption_dropout_to="empty")))
    assert {"text_encoder", "tokenizer"} <= found.fingerprints.keys()
    empty = found.objective(CPU, torch.float32).no_caption_LD
    parts = find_text_parts(CogVideoXCacheText())
    expected = parts.text.encode([""], 64, device=CPU, dtype=torch.float32)[0]
    torch.testing.assert_close(empty, expected, atol=0, rtol=0)


def test_modulations_stay_out_of_fp8():
    network = find(CogVideoXTrain()).load(CPU, torch.float32)
    blocks = [name for name, module in network.blocks.named_modules() if isinstance(module, torch.nn.Linear)]
    quantized = {name.partition(".")[2] for name in blocks if training().quantized(f"blocks.{name}")}
    assert quantized == {
        *(f"attention.{part}" for part in ("query", "key", "value", "output")),
        *("feed_forward.expand", "feed_forward.contract"),
    }


def test_samples_are_the_clips_that_generation_makes_of_the_denoiser(monkeypatch):
    samples = CogVideoXSamples(height=32, width=32, num_frames=9, steps=2, seed=3)
    config = CogVideoXTrain(samples=samples)
    found, family = find(config), load_family("cogvideox")
    base = training().sampling.config(config, found)
    model = family.locate(base)
    requests = [resolve(replace(base, prompt="a red ball"), model)]
    training().sampling.encode(model, config, requests)
    (expected,) = segments(CogVideoXSession(model, ExecutionConfig()), requests)

    denoiser = found.load(CPU, torch.float32)
    monkeypatch.setattr(generate, "load_adapted", None)
    monkeypatch.setattr(type(model.text), "encode", pytest.fail)
    (made,) = segments(training().sampling.start(model, config, denoiser), requests)
    assert torch.equal(made.latents_BCTHW, expected.latents_BCTHW)
    with torch.no_grad():
        denoiser.output_projection.bias += 0.1
    (other,) = segments(training().sampling.start(model, config, denoiser), requests)
    assert not torch.equal(other.latents_BCTHW, expected.latents_BCTHW)


def segments(session: CogVideoXSession, requests: list) -> list[Segment]:
    return [made for made in session.generate(requests, lambda _: None) if isinstance(made, Segment)]
