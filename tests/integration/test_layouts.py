"""What each kind of model makes of text, images and clips, from the command line to the file."""

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file

STEM = "clip-001_seed-3"


@pytest.fixture
def made(reelwright, model_of, tmp_path) -> Callable[..., Path]:
    """Make a clip with the model of a layout; returns its run folder."""
    runs: list[Path] = []

    def run(layout: str, *words: object) -> Path:
        runs.append(tmp_path / f"run-{len(runs)}")
        small = ("--prompt", "a red ball", "--steps", "2", "--seed", "3", "--height", "64", "--width", "64")
        model = ("--model", model_of(layout), "--run", runs[-1])
        outcome = reelwright("generate", "cogvideox", *small, *model, *words)
        assert outcome.code == 0, outcome.err
        return runs[-1]

    return run


def latents(run: Path):
    return load_file(run / f"{STEM}.latent.safetensors")["latent"]


def shape_of(run: Path) -> tuple[int, int, int]:
    """Frames, height and width of the clip as another program reads them."""
    with av.open(str(run / f"{STEM}.mp4")) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return len(frames), *frames[0].shape[:2]


@pytest.fixture
def other_picture(tmp_path, picture) -> Path:
    Image.fromarray(255 - np.asarray(Image.open(picture))).save(tmp_path / "other.png")
    return tmp_path / "other.png"


def test_an_image_decides_the_clip(made, picture, other_picture):
    size = ("--height", "128", "--width", "128", "--num-frames", "9")
    first, second = (made("image", *size, "--image", path) for path in (picture, other_picture))
    assert shape_of(first) == (9, 128, 128)
    assert not latents(first).equal(latents(second))


@pytest.mark.parametrize("fit", ["stretch", "pad"])
def test_how_an_image_is_fitted_matters(made, picture, fit):
    size = ("--height", "128", "--width", "128", "--num-frames", "1", "--image", picture)
    assert not latents(made("image", *size)).equal(latents(made("image", *size, "--image-fit", fit)))


def test_first_and_last_images_each_count_where_both_are_known(made, picture, other_picture):
    runs = [
        made("inpaint", "--num-frames", "9", *words)
        for words in ((), ("--image", picture), ("--image", picture, "--end-image", other_picture))
    ]
    assert [shape_of(run) for run in runs] == [(9, 64, 64)] * 3
    text, first, both = map(latents, runs)
    assert not text.equal(first)
    assert not first.equal(both)


def test_a_control_clip_decides_the_clip(made, clip_of):
    moving, short = (
        made("control", "--control-video", clip_of(17)),
        made("control", "--control-video", clip_of(9)),
    )
    assert shape_of(moving) == (17, 64, 64)
    assert shape_of(short) == (9, 64, 64)


def test_strength_says_how_far_to_leave_a_clip(made, clip_of):
    words = ("--num-frames", "9", "--video", clip_of(9), "--steps", "4", "--strength")
    kept, near, far = (latents(made("text", *words, strength)) for strength in ("0", "0.5", "1"))
    assert (near - kept).abs().mean() > 0
    assert (far - kept).abs().mean() > (near - kept).abs().mean()


def test_the_second_generation_makes_its_own_lengths_and_rate(made, refused, model_of):
    run = made("second", "--num-frames", "17")
    assert shape_of(run) == (17, 64, 64)
    assert latents(run).shape == (1, 16, 5, 8, 8)
    with av.open(str(run / f"{STEM}.mp4")) as container:
        assert container.streams.video[0].average_rate == 16
    words = ("--model", model_of("second"), "--num-frames", "20", "--strict", "--run", "strict")
    assert "20 is not of the form 16k + 1. Use 17 or 33." in refused(*words, code=2)


def test_the_second_generation_starts_from_images_and_clips(made, picture, clip_of):
    image = made("second-image", "--num-frames", "17", "--image", picture)
    clip = made("second", "--num-frames", "17", "--video", clip_of(17), "--fps", "8")
    assert latents(image).shape == latents(clip).shape == (1, 16, 5, 8, 8)
    assert shape_of(image) == shape_of(clip) == (17, 64, 64)


@pytest.mark.parametrize("sampler", ["ddim", "dpm", "euler", "dpmpp_2m", "unipc"])
def test_every_sampler_and_odd_options_make_a_finite_clip(made, sampler):
    words = ("--sampler", sampler, "--guidance-schedule", "legacy", "--negative", "zero", "--steps", "3")
    run = made("text", "--num-frames", "9", *words)
    assert latents(run).isfinite().all()


def test_a_seed_gives_the_noise_whatever_the_guidance(made):
    """Without guidance the negative prompt is not read."""
    words = ("--num-frames", "1", "--guidance-scale", "1")
    first = latents(made("text", *words))
    assert first.equal(latents(made("text", *words, "--negative-prompt", "blurry")))
