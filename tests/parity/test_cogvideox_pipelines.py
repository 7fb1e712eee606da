"""Whole runs against the released pipelines: the same folder, prompt and seed give the same frames."""

import json
from dataclasses import replace
from pathlib import Path

import diffusers
import numpy
import pytest
import torch
from diffusers import (
    CogVideoXDDIMScheduler,
    CogVideoXDPMScheduler,
    CogVideoXFunControlPipeline,
    CogVideoXImageToVideoPipeline,
    CogVideoXPipeline,
    CogVideoXVideoToVideoPipeline,
)
from PIL import Image
from torch import Tensor

from reelwright.families.cogvideox.config import (
    AutoencoderConfig,
    CogVideoXGenerate,
    Compatibility,
    SchedulerConfig,
    TransformerConfig,
)
from reelwright.families.cogvideox.family import FAMILY
from reelwright.families.cogvideox.tiny import write_model
from reelwright.media.video_reader import read_video
from reelwright.protocols.family import Segment
from reelwright.workflows.generate import run

PROMPT = "a red ball rolls over the floor at night"
NEGATIVE = "a gray box stands still"
SEED = 1234
HEIGHT, WIDTH = 64, 96
PIPELINES = {
    "text": CogVideoXPipeline,
    "image": CogVideoXImageToVideoPipeline,
    "video": CogVideoXVideoToVideoPipeline,
    "control": CogVideoXFunControlPipeline,
}
SCHEDULERS = {"ddim": CogVideoXDDIMScheduler, "dpm": CogVideoXDPMScheduler}

SMALL = TransformerConfig(
    num_layers=2,
    num_attention_heads=2,
    time_embed_dim=32,
    text_embed_dim=32,
    max_text_seq_length=24,
    sample_height=8,
    sample_width=12,
    sample_frames=17,
)
ROTARY = replace(SMALL, use_rotary_positional_embeddings=True)
SECOND = replace(ROTARY, patch_size_t=2, patch_bias=False)
AUTOENCODER = AutoencoderConfig(
    block_out_channels=(8, 16, 16, 32),
    layers_per_block=1,
    norm_num_groups=4,
    scaling_factor=0.7,
    sample_height=64,
    sample_width=96,
)
TRANSFORMERS = {
    "2b": SMALL,
    "5b": ROTARY,
    "1.5-5b": SECOND,
    "5b-i2v": replace(ROTARY, in_channels=32, use_learned_positional_embeddings=True),
    "fun-5b-control": replace(ROTARY, in_channels=32),
    "1.5-5b-i2v": replace(SECOND, in_channels=32, ofs_embed_dim=32),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, Path]:
    """A folder with random weights for every layout; 1.5 asks for inverse image latents, as on the hub."""
    root = tmp_path_factory.mktemp("models")
    for name, transformer in TRANSFORMERS.items():
        scale = 1.15258426 if name == "2b" else 0.7
        write_model(
            root / name,
            transformer=transformer,
            autoencoder=replace(AUTOENCODER, scaling_factor=scale),
            scheduler=SchedulerConfig(snr_shift_scale=3.0 if name == "2b" else 1.0),
            dtype=torch.float32,
        )
        if transformer.is_second_generation:
            settings = root / name / "vae" / "config.json"
            settings.write_text(json.dumps(json.loads(settings.read_text()) | {"invert_scale_latents": True}))
    return {name: root / name for name in TRANSFORMERS}


@pytest.fixture(scope="module")
def picture(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("inputs") / "picture.png"
    gradient = torch.linspace(0, 255, HEIGHT * WIDTH).view(HEIGHT, WIDTH)
    pixels = torch.stack([gradient, gradient.flip(1), 255 - gradient], dim=-1).to(torch.uint8)
    Image.fromarray(pixels.numpy()).save(path)
    return path


@pytest.fixture(scope="module")
def clip(tmp_path_factory, models) -> Path:
    """A short clip of noise, as mp4."""
    folder = tmp_path_factory.mktemp("inputs") / "run"
    config = CogVideoXGenerate(
        model=str(models["5b"]),
        prompt="noise",
        seed=1,
        steps=1,
        num_frames=9,
        guidance_scale=1.0,
        run=folder,
        contact_sheet=False,
        preview_every=0,
    )
    list(run("cogvideox", config))
    return next(folder.glob("*.mp4"))


def our_frames(config: CogVideoXGenerate) -> Tensor:
    """uint8 [F, H, W, 3], without the losses of a video file."""
    model = FAMILY.locate(config)
    request = FAMILY.resolve(config, model)
    session = FAMILY.start(model, config.execution)
    segments = [made for made in session.generate([request], lambda key: None) if isinstance(made, Segment)]
    assert [segment.flaw for segment in segments] == [""]
    return torch.cat(list(segments[0].decode()))


def released_frames(folder: Path, kind: str, sampler: str, **options) -> Tensor:
    diffusers.logging.disable_progress_bar()
    pipeline = PIPELINES[kind].from_pretrained(folder, torch_dtype=torch.float32)
    pipeline.scheduler = SCHEDULERS[sampler].from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    frames = pipeline(
        prompt=PROMPT,
        generator=torch.Generator("cpu").manual_seed(SEED),
        output_type="pt",
        max_sequence_length=pipeline.transformer.config.max_text_seq_length,
        **options,
    ).frames[0]
    return (frames * 255).round().to(torch.uint8).permute(0, 2, 3, 1)


def asked(folder: Path, sampler: str, **options) -> CogVideoXGenerate:
    return CogVideoXGenerate(
        model=str(folder),
        prompt=PROMPT,
        seed=SEED,
        sampler=sampler,
        compatibility=Compatibility(previous_timestep="released"),
        **options,
    )


def check(ours: Tensor, released: Tensor):
    """Every pixel within one of 255 levels, in clips that show something."""
    assert ours.shape == released.shape
    assert released.float().std() > 5
    assert (ours.int() - released.int()).abs().max() <= 1


@pytest.mark.parametrize("sampler", SCHEDULERS)
@pytest.mark.parametrize("layout", ["2b", "5b", "1.5-5b"])
@pytest.mark.parametrize(("steps", "num_frames"), [(4, 17), (6, 1)])
def test_text_gives_the_released_clip(models, layout, sampler, steps, num_frames):
    size = {"height": HEIGHT, "width": WIDTH, "num_frames": num_frames}
    ours = our_frames(
        asked(models[layout], sampler, steps=steps, guidance_scale=6.0, negative_prompt=NEGATIVE, **size)
    )
    assert len(ours) == num_frames
    options = {"num_inference_steps": steps, "guidance_scale": 6.0, "negative_prompt": NEGATIVE}
    check(ours, released_frames(models[layout], "text", sampler, **options, **size))


@pytest.mark.parametrize("layout", ["2b", "5b"])
def test_another_size_gives_the_released_clip(models, layout):
    size = {"height": 64, "width": 64, "num_frames": 9}
    config = asked(models[layout], "dpm", steps=4, **size)
    config = replace(config, compatibility=replace(config.compatibility, rope_grid="released"))
    check(our_frames(config), released_frames(models[layout], "text", "dpm", num_inference_steps=4, **size))


def test_without_guidance_text_gives_the_released_clip(models):
    size = {"height": HEIGHT, "width": WIDTH, "num_frames": 9}
    ours = our_frames(asked(models["5b"], "dpm", steps=5, guidance_scale=1.0, **size))
    options = {"num_inference_steps": 5, "guidance_scale": 1.0}
    check(ours, released_frames(models["5b"], "text", "dpm", **options, **size))


@pytest.mark.parametrize("layout", ["5b", "1.5-5b"])
def test_the_released_wave_of_guidance_gives_the_released_clip(models, layout):
    size = {"height": HEIGHT, "width": WIDTH, "num_frames": 9 if layout == "5b" else 17}
    ours = our_frames(asked(models[layout], "dpm", steps=5, guidance_schedule="legacy", **size))
    options = {"num_inference_steps": 5, "use_dynamic_cfg": True}
    check(ours, released_frames(models[layout], "text", "dpm", **options, **size))


@pytest.mark.parametrize("sampler", SCHEDULERS)
@pytest.mark.parametrize(("layout", "scale"), [("5b-i2v", "scaled"), ("1.5-5b-i2v", "inverse")])
def test_an_image_gives_the_released_clip(models, picture, layout, scale, sampler):
    config = asked(models[layout], sampler, steps=4, num_frames=17, height=HEIGHT, width=WIDTH, image=picture)
    ours = our_frames(replace(config, image_latent_scale=scale))
    options = {"height": HEIGHT, "width": WIDTH, "num_frames": 17, "num_inference_steps": 4}
    check(ours, released_frames(models[layout], "image", sampler, image=Image.open(picture), **options))


@pytest.mark.parametrize("sampler", SCHEDULERS)
@pytest.mark.parametrize("layout", ["2b", "5b"])
@pytest.mark.parametrize(("steps", "strength"), [(5, 0.8), (4, 0.3), (4, 1.0)])
def test_a_clip_gives_the_released_clip(models, clip, layout, sampler, steps, strength):
    config = asked(models[layout], sampler, steps=steps, num_frames=9, height=HEIGHT, width=WIDTH, video=clip)
    ours = our_frames(replace(config, strength=strength))
    frames = [Image.fromarray(frame.numpy()) for frame in read_video(clip)]
    options = {"height": HEIGHT, "width": WIDTH, "num_inference_steps": steps, "strength": strength}
    check(ours, released_frames(models[layout], "video", sampler, video=frames, **options))


def test_a_control_clip_gives_the_released_clip(models, clip):
    folder = models["fun-5b-control"]
    config = asked(folder, "ddim", steps=4, num_frames=9, height=HEIGHT, width=WIDTH, control_video=clip)
    frames = [Image.fromarray(frame.numpy()) for frame in read_video(clip)]
    options = {"height": HEIGHT, "width": WIDTH, "num_inference_steps": 4, "control_video": [frames]}
    check(our_frames(config), released_frames(folder, "control", "ddim", **options))


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": "a green cat"},
        {"negative_prompt": NEGATIVE},
        {"seed": SEED + 1},
        {"guidance_scale": 5.0},
        {"guidance_schedule": "ramp"},
        {"sampler": "ddim"},
        {"compatibility": Compatibility(noise_draws="one")},
        {"negative": "zero"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_choice_shows_in_the_frames_by_more_than_parity_forgives(models, change):
    """Else the comparisons above would prove nothing about it."""
    config = asked(models["5b"], "dpm", steps=4, height=HEIGHT, width=WIDTH, num_frames=1)
    difference = our_frames(config).int() - our_frames(replace(config, **change)).int()
    assert difference.abs().max() > 3


def test_true_neighbors_and_released_arithmetic_agree_where_steps_divide_a_thousand(models):
    size = {"height": HEIGHT, "width": WIDTH, "num_frames": 1}
    released = asked(models["5b"], "ddim", steps=5, **size)
    assert torch.equal(our_frames(released), our_frames(replace(released, compatibility=Compatibility())))
    uneven = replace(released, steps=6)
    assert not torch.equal(our_frames(uneven), our_frames(replace(uneven, compatibility=Compatibility())))


def test_the_workflow_saves_the_frames_that_the_released_pipeline_gives(models, tmp_path):
    size = {"height": HEIGHT, "width": WIDTH, "num_frames": 9}
    config = asked(models["5b"], "dpm", steps=4, format="png", run=tmp_path / "run", preview_every=0, **size)
    list(run("cogvideox", config))
    (folder,) = (path for path in (tmp_path / "run").iterdir() if path.is_dir())
    pictures = [Image.open(path).convert("RGB") for path in sorted(folder.glob("*.png"))]
    saved = torch.stack([torch.from_numpy(numpy.array(picture)) for picture in pictures])
    check(saved, released_frames(models["5b"], "text", "dpm", num_inference_steps=4, **size))
