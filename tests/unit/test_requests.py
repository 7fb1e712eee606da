"""What users ask for becomes what a released model can make, before anything loads."""

from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from reelwright.core.errors import ConfigError, FileError
from reelwright.encoders.t5 import T5Text
from reelwright.families.cogvideox.checkpoints import CogVideoXModel, Layout
from reelwright.families.cogvideox.config import (
    TRANSFORMERS,
    AutoencoderConfig,
    CogVideoXGenerate,
    Compatibility,
    SchedulerConfig,
)
from reelwright.families.cogvideox.requests import resolve
from reelwright.media.video_writer import write_mp4

LAYOUTS = {"i2v": Layout.IMAGE, "inp": Layout.INPAINT, "control": Layout.CONTROL}
TEXT_MODELS = ["2b", "5b", "1.5-5b"]


def model_of(variant: str, **changes) -> CogVideoXModel:
    """A released model as `locate` would find it, with the embedded tokenizer."""
    assets = Path(str(files("reelwright") / "assets" / "cogvideox-tiny"))
    transformer = TRANSFORMERS[variant]
    model = CogVideoXModel(
        name=variant,
        transformer_path=assets / "transformer",
        transformer=transformer,
        autoencoder_path=assets / "vae",
        autoencoder=AutoencoderConfig(),
        scheduler=SchedulerConfig(),
        default_sampler="dpm",
        text=T5Text(assets / "text_encoder", assets / "tokenizer"),
        layout=LAYOUTS.get(variant.rsplit("-", 1)[-1], Layout.TEXT),
        released_dtype="bfloat16",
        fingerprints={},
    )
    return replace(model, **changes)


def asked(**options) -> CogVideoXGenerate:
    return CogVideoXGenerate(**{"prompt": "a red ball", **options})


def refusal(config: CogVideoXGenerate, model: CogVideoXModel) -> str:
    with pytest.raises(ConfigError) as caught:
        resolve(config, model)
    return str(caught.value)


@pytest.fixture(scope="module")
def picture(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("inputs") / "picture.png"
    Image.new("RGB", (120, 80), (255, 0, 0)).save(path)
    return path


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    """Twenty frames at eight per second, each a gray level of its own."""
    path = tmp_path_factory.mktemp("inputs") / "clip.mp4"
    frames = (torch.full((1, 64, 96, 3), 10 * n, dtype=torch.uint8) for n in range(20))
    write_mp4(path, frames, fps=8)
    return path


@pytest.mark.parametrize(
    ("variant", "width", "height", "num_frames", "fps"),
    [("2b", 720, 480, 49, 8), ("5b", 720, 480, 49, 8), ("1.5-5b", 1360, 768, 81, 16)],
)
def test_a_prompt_alone_gives_the_size_length_and_rate_of_training(variant, width, height, num_frames, fps):
    request = resolve(asked(), model_of(variant))
    config = request.config
    assert (config.width, config.height, config.num_frames, config.fps) == (width, height, num_frames, fps)
    assert (config.sampler, config.timestep_spacing) == ("dpm", "trailing")
    assert request.notices == ()


def test_a_file_of_1_5_that_gives_the_size_of_its_table_still_makes_clips_of_training_size():
    transformer = replace(TRANSFORMERS["1.5-5b"], sample_height=300, sample_width=300)
    config = resolve(asked(), model_of("1.5-5b", transformer=transformer)).config
    assert (config.width, config.height) == (1360, 768)


@given(st.integers(1, 2000), st.integers(1, 2000), st.sampled_from(TEXT_MODELS))
def test_sizes_snap_to_the_nearest_multiple_of_sixteen_and_say_so(width, height, variant):
    request = resolve(asked(width=width, height=height, num_frames=1), model_of(variant))
    for key, value in (("width", width), ("height", height)):
        used = getattr(request.config, key)
        assert used % 16 == 0
        assert used >= 16
        assert abs(used - value) <= 8 or used == 16
        said = [notice for notice in request.notices if notice.startswith(f"{key}:")]
        assert bool(said) == (used != value)
        assert all(str(value) in notice and str(used) in notice for notice in said)


@pytest.mark.parametrize(
    ("variant", "num_frames", "used"),
    [
        ("5b", 1, 1),
        ("5b", 2, 1),
        ("5b", 48, 49),
        ("5b", 53, 49),
        ("5b", 54, 57),
        ("1.5-5b", 80, 81),
        ("1.5-5b", 90, 97),
        ("1.5-5b", 161, 161),
        ("2b", 16, 17),
    ],
)
def test_lengths_snap_to_what_the_generation_can_make(variant, num_frames, used):
    request = resolve(asked(num_frames=num_frames), model_of(variant))
    assert request.config.num_frames == used
    assert any(notice.startswith("num_frames:") for notice in request.notices) == (
        num_frames != used or used > model_of(variant).longest
    )


def test_clips_longer_than_training_are_made_with_a_warning():
    request = resolve(asked(num_frames=97), model_of("5b"))
    assert request.config.num_frames == 97
    assert any("up to 49" in notice for notice in request.notices)


def test_strict_refuses_every_adjustment_and_names_them_all_at_once():
    message = refusal(asked(strict=True, width=700, height=500, num_frames=50), model_of("5b"))
    assert [line.split(":")[0] for line in message.splitlines()] == ["height", "width", "num_frames"]
    assert "49 or 57" in message
    assert "width: 700 is no multiple of 16. The nearest is 704." in message


def test_strict_takes_what_is_legal():
    config = resolve(asked(strict=True, width=704, height=480, num_frames=57), model_of("5b")).config
    assert (config.width, config.height, config.num_frames) == (704, 480, 57)


def test_a_learned_table_of_positions_takes_one_size_and_no_longer_clips(picture):
    model = model_of("5b-i2v")
    request = resolve(asked(image=picture, width=640, height=480, num_frames=81), model)
    config = request.config
    assert (config.width, config.height, config.num_frames) == (720, 480, 49)
    assert any("table of positions" in notice and "640" in notice for notice in request.notices)
    assert resolve(asked(image=picture, num_frames=17), model).config.num_frames == 17
    strict = refusal(asked(image=picture, width=640, num_frames=81, strict=True), model)
    assert "table of positions is for 720 pixels, not 640" in strict
    assert "81 is more than the model makes. Use 49 or fewer" in strict


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ((1500, 1000), (1152, 768)),
        ((1000, 1500), (768, 1152)),
        ((512, 512), (768, 768)),
        ((3000, 300), (1360, 768)),
    ],
)
def test_image_models_of_1_5_take_their_shape_from_the_image(tmp_path, source, expected):
    path = tmp_path / "picture.png"
    Image.new("RGB", source).save(path)
    config = resolve(asked(image=path, num_frames=1), model_of("1.5-5b-i2v")).config
    assert (config.width, config.height) == expected


def test_a_prompt_is_needed():
    for prompt in ("", "  \n"):
        assert refusal(asked(prompt=prompt), model_of("5b")).startswith("prompt: is empty")


def test_ten_thousand_words_are_cut_and_the_part_that_is_lost_is_named():
    words = [f"ball{n}" for n in range(10_000)]
    prompt = " ".join(words)
    model = model_of("5b")
    request = resolve(asked(prompt=prompt), model)
    (notice,) = request.notices
    assert len(notice) < 400
    assert "226 tokens" in notice
    shown = notice.split("“")[1].split("…")[0]
    kept = prompt[: prompt.index(shown)]
    assert len(shown) >= 100
    assert model.text.tokenize(kept, 226)[1] == ""
    assert model.text.tokenize(kept + shown[:20], 226)[1] != ""
    assert "prompt: the model reads 226 tokens" in refusal(asked(prompt=prompt, strict=True), model)


def test_a_long_negative_prompt_is_cut_at_the_length_that_was_chosen():
    config = asked(negative_prompt="red ball " * 100, compatibility=Compatibility(text_tokens=20))
    (notice,) = resolve(config, model_of("5b")).notices
    assert notice.startswith("negative_prompt: the model reads 20 tokens")


@pytest.mark.parametrize(
    ("variant", "wrong", "takes"),
    [
        ("5b", "image", "text alone"),
        ("5b", "end_image", "text alone"),
        ("5b", "control_video", "text alone"),
        ("5b-i2v", "video", "an --image"),
        ("5b-i2v", "control_video", "an --image"),
        ("fun-5b-control", "video", "a --control-video"),
        ("fun-5b-inp", "video", "text, an --image"),
    ],
)
def test_inputs_that_a_model_cannot_read_are_refused_with_what_it_can(picture, clip, variant, wrong, takes):
    config = asked(**{wrong: picture if "image" in wrong else clip})
    message = refusal(config, model_of(variant))
    assert f"{wrong}: this model has no input for it" in message
    assert takes in message


@pytest.mark.parametrize(
    ("variant", "missing"),
    [("5b-i2v", "image"), ("1.5-5b-i2v", "image"), ("fun-5b-control", "control_video")],
)
def test_inputs_that_a_model_needs_are_asked_for(variant, missing):
    assert f"{missing}: is missing" in refusal(asked(), model_of(variant))


def test_an_end_image_needs_a_first_one(picture):
    assert "end_image: needs an --image" in refusal(asked(end_image=picture), model_of("fun-5b-inp"))
    request = resolve(asked(image=picture, end_image=picture), model_of("fun-5b-inp"))
    assert request.last_image_CHW is not None
    assert request.notices == ()


def test_an_end_image_of_an_image_model_comes_with_a_warning(picture):
    request = resolve(asked(image=picture, end_image=picture), model_of("5b-i2v"))
    assert any(notice.startswith("end_image:") for notice in request.notices)


def test_inpainting_models_also_make_clips_from_text_alone():
    assert resolve(asked(), model_of("fun-5b-inp")).first_image_CHW is None


def test_strength_without_a_clip_is_refused():
    assert "strength:" in refusal(asked(strength=0.5), model_of("5b"))


def test_the_scale_of_image_latents_is_for_image_models(picture):
    assert "image_latent_scale:" in refusal(asked(image_latent_scale="raw"), model_of("5b"))
    for variant, scale in (("5b-i2v", "scaled"), ("1.5-5b-i2v", "raw")):
        assert resolve(asked(image=picture), model_of(variant)).config.image_latent_scale == scale


def test_a_negative_prompt_that_would_not_be_read_is_refused():
    config = asked(negative="zero", negative_prompt="blur")
    assert "negative_prompt: is not read" in refusal(config, model_of("5b"))


def test_all_problems_are_named_at_once(picture):
    message = refusal(asked(prompt="", image=picture, strength=0.5), model_of("5b"))
    assert [line.split(":")[0] for line in message.splitlines()] == ["prompt", "image", "strength"]


def test_images_are_pixels_between_minus_one_and_one_at_the_size_of_the_clip(picture):
    request = resolve(asked(image=picture), model_of("5b-i2v"))
    assert request.first_image_CHW is not None
    assert request.first_image_CHW.shape == (3, 480, 720)
    assert request.first_image_CHW[:, 0, 0].tolist() == [1.0, -1.0, -1.0]


def test_an_image_that_cannot_be_read_is_named(tmp_path):
    for content in (None, b"", b"no picture"):
        path = tmp_path / "picture.png"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(FileError, match=r"picture\.png"):
            resolve(asked(image=path), model_of("5b-i2v"))


def small(**options) -> CogVideoXGenerate:
    return asked(width=96, height=64, **options)


def grays(request) -> list[int]:
    """The level of each frame."""
    return ((request.clip_BCFHW[0, 0, :, 32, 48] + 1) * 127.5).round().int().tolist()


@pytest.mark.parametrize(("variant", "key"), [("5b", "video"), ("fun-5b-control", "control_video")])
def test_a_clip_gives_as_many_frames_as_the_model_can_make_of_it(clip, variant, key):
    request = resolve(small(**{key: clip}), model_of(variant))
    assert request.config.num_frames == 17
    assert request.clip_BCFHW.shape == (1, 3, 17, 64, 96)
    assert grays(request) == pytest.approx([10 * n for n in range(17)], abs=3)


def test_the_first_frames_of_a_longer_clip_are_taken(clip):
    request = resolve(small(video=clip, num_frames=9), model_of("5b"))
    assert request.config.num_frames == 9
    assert grays(request) == pytest.approx([10 * n for n in range(9)], abs=3)
    assert not any(notice.startswith("num_frames") for notice in request.notices)


def test_a_clip_that_is_too_short_makes_a_shorter_one_or_is_refused(clip):
    request = resolve(small(video=clip, num_frames=49), model_of("5b"))
    assert request.config.num_frames == 17
    assert any("20 frames" in notice and "17" in notice for notice in request.notices)
    assert "20 frames" in refusal(small(video=clip, num_frames=49, strict=True), model_of("5b"))


def test_a_length_that_snaps_down_to_what_the_clip_has_is_used(clip):
    request = resolve(small(video=clip, num_frames=20), model_of("5b"))
    assert request.config.num_frames == 17
    assert len(grays(request)) == 17


def test_a_clip_is_read_at_the_rate_of_the_new_one(clip):
    request = resolve(small(video=clip, fps=4), model_of("5b"))
    assert request.config.num_frames == 9
    assert grays(request) == pytest.approx([20 * n for n in range(9)], abs=3)


def test_a_clip_is_cut_to_the_shape_of_the_new_one(clip):
    request = resolve(asked(width=64, height=64, video=clip), model_of("5b"))
    assert request.clip_BCFHW.shape == (1, 3, 17, 64, 64)


def test_a_clip_that_is_none_is_named(tmp_path):
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"no clip")
    with pytest.raises(FileError, match=r"clip\.mp4"):
        resolve(small(video=path), model_of("5b"))
