"""Going on from a clip, arriving at one, returning to the start, and changing one."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from reelwright.media.video_reader import probe_video, read_video
from reelwright.media.video_writer import write_mp4

STEM = "clip-001_seed-3"
WINDOW = 2


@pytest.fixture
def clip(packed, tmp_path) -> Path:
    """A clip of one section, with its latents beside it."""
    assert packed("--prompt", "a green car", "--seed", "3", "--video-sections", "1", "--run", "old").code == 0
    return tmp_path / "old" / f"{STEM}.mp4"


@pytest.fixture
def old(clip, latents_of) -> Tensor:
    """The latents of `clip`: one and those of a section."""
    return latents_of(at=clip.parent)


@pytest.fixture
def foreign(tmp_path, picture) -> Path:
    """A clip of a camera: 80 x 48 pixels, 24 frames per second, three quarters of a second."""
    pixels = np.asarray(Image.open(picture).resize((80, 48)))
    frames = np.stack([np.roll(pixels, index, axis=1) for index in range(18)])
    write_mp4(tmp_path / "camera.mp4", [torch.from_numpy(frames)], fps=24)
    return tmp_path / "camera.mp4"


FEW = ("--video-sections", "2", "--height", "0", "--width", "0")


@pytest.mark.parametrize("direction", ["backward", "forward"])
def test_an_extended_clip_begins_with_the_very_latents_of_the_old_one(latents_of, clip, old, direction):
    words = (*FEW, "--direction", direction)
    longer = latents_of("--extend", clip, *words)
    assert longer.shape == (1, 16, 3 + 2 * WINDOW, 8, 8)
    assert torch.equal(longer[:, :, :3], old)
    by_latents = latents_of("--extend", clip.with_suffix(".latent.safetensors"), *words)
    assert torch.equal(longer, by_latents)
    encoded = latents_of("--extend", clip, "--clip-latents", "encode", *words)
    assert encoded.shape == longer.shape
    assert not torch.equal(encoded[:, :, :3], old)


def test_latents_beside_a_clip_that_was_cut_are_not_its_own(latents_of, clip, old):
    write_mp4(clip, [read_video(clip)[:5]], fps=30)
    longer = latents_of("--extend", clip, *FEW)
    assert longer.shape == (1, 16, 2 + 2 * WINDOW, 8, 8)
    assert not torch.equal(longer[:, :, :1], old[:, :, :1])


@pytest.mark.parametrize("direction", ["backward", "forward"])
def test_a_clip_of_any_rate_and_size_can_be_extended(packed, latents_of, tmp_path, foreign, direction):
    """18 frames at 24 per second are 23 at 30, of which 21 = 4 x 5 + 1 are six latents."""
    outcome = packed("--extend", foreign, *FEW, "--direction", direction, "--run", "run")
    assert outcome.code == 0, outcome.err
    assert latents_of(at="run").shape == (1, 16, 6 + 2 * WINDOW, 6, 10)
    info = probe_video(tmp_path / "run" / f"{STEM}.mp4")
    assert (info.width, info.height, info.num_frames) == (80, 48, 4 * (5 + 2 * WINDOW) + 1)


def test_how_a_clip_is_made_to_fit_can_be_chosen(latents_of, foreign):
    made = [latents_of("--extend", foreign, "--image-fit", fit) for fit in ("crop", "stretch", "pad")]
    assert not any(torch.equal(made[one], made[other]) for one, other in ((0, 1), (0, 2), (1, 2)))


def test_a_bridge_holds_both_clips(packed, latents_of, clip, old):
    packed("--prompt", "a dog", "--seed", "4", "--video-sections", "2", "--run", "other")
    goal = clip.parent.parent / "other" / "clip-001_seed-4.mp4"
    bridge = latents_of("--extend", clip, "--bridge-to", goal, *FEW)
    assert torch.equal(bridge[:, :, :3], old)
    assert torch.equal(bridge[:, :, 3 + 2 * WINDOW :], latents_of(at="other"))
    assert not torch.equal(bridge[:, :, 3:7], latents_of("--extend", clip, *FEW)[:, :, 3:])


def test_a_loop_ends_where_the_video_began(latents_of, clip, old, tmp_path, picture):
    image = ("--image", picture)
    assert torch.equal(latents_of(*image, "--loop"), latents_of(*image, "--end-image", picture))
    around = latents_of("--extend", clip, "--loop", *FEW)
    bridge = latents_of("--extend", clip, "--bridge-to", clip, *FEW)
    assert torch.equal(around, bridge[:, :, : around.shape[2]])


@pytest.mark.parametrize("direction", ["backward", "forward"])
def test_strength_says_how_far_a_changed_clip_is_from_the_old_one(packed, latents_of, tmp_path, direction):
    packed("--prompt", "a dog", "--seed", "7", "--run", "dog")
    clip, dog = tmp_path / "dog" / "clip-001_seed-7.mp4", latents_of(at="dog")

    def changed(strength: float, *words: object) -> Tensor:
        where = ("--direction", direction, "--video-sections", "0", "--height", "0", "--width", "0")
        return latents_of("--video", clip, "--strength", strength, *where, *words)

    assert torch.equal(changed(0.0), dog)
    near, far, fresh = (changed(strength) for strength in (0.1, 0.6, 1.0))
    distances = [(each - dog).square().mean() for each in (near, far, fresh)]
    assert 0 < distances[0] < distances[1] < distances[2]
    assert torch.equal(near[:, :, :1], dog[:, :, :1])
    assert not torch.equal(fresh, changed(1.0, "--prompt", "a cat"))


def test_a_whole_strength_sees_no_more_of_a_clip_than_where_it_starts(latents_of, clip, old, tmp_path):
    """Another clip that begins alike is changed to the same video."""
    words = ("--strength", "1", "--video-sections", "1", "--image", "start.png")
    Image.new("RGB", (64, 64), "red").save(tmp_path / "start.png")
    other = tmp_path / "other.latent.safetensors"
    save_file({"latent": old.flip(2).contiguous()}, other)
    assert torch.equal(latents_of("--video", clip, *words), latents_of("--video", other, *words))


def test_a_clip_is_long_enough_for_so_many_sections(packed, latents_of, foreign, refused):
    """Of the 23 frames of the camera, 17 are two sections."""
    words = ("--video", foreign, "--height", "0", "--width", "0")
    assert latents_of(*words, "--video-sections", "0").shape == (1, 16, 1 + 2 * WINDOW, 6, 10)
    outcome = packed(*words, "--video-sections", "3", "--format", "latent", "--run", "run")
    assert (outcome.code, latents_of(at="run").shape[2]) == (0, 1 + 2 * WINDOW)
    assert "camera.mp4 is long enough for 2, not for 3. Using 2." in outcome.notices
    assert "not for 3" in refused(*words, "--video-sections", "3", "--strict", code=2, command=packed)
    said = refused(*words, "--latent-window-size", "9", code=2, command=packed)
    assert "a section needs 37" in said


FOREIGN_LATENTS: dict[str, Callable[[Tensor, Path], object]] = {
    "four dimensions.safetensors": lambda latents, path: save_file({"latent": latents[0].contiguous()}, path),
    "five dimensions.safetensors": lambda latents, path: save_file({"latent": latents}, path),
    "another key.safetensors": lambda latents, path: save_file({"latent_0": latents}, path),
    "torch.pt": lambda latents, path: torch.save({"latent": latents[0]}, path),
}


@pytest.mark.parametrize("name", FOREIGN_LATENTS)
def test_latents_of_another_program_can_be_decoded_and_extended(
    packed, reelwright, latents_of, clip, old, tmp_path, name
):
    FOREIGN_LATENTS[name](old, tmp_path / name)
    shown = ("--latent-window-size", "2", "--crf", "17", "--seed", "3", "--run", "shown")
    outcome = reelwright("generate", "framepack", "--from-latent", name, *shown)
    assert outcome.code == 0, outcome.err
    assert torch.equal(read_video(tmp_path / "shown" / f"{STEM}.mp4"), read_video(clip))
    Image.fromarray(read_video(clip)[-1].numpy()).save(tmp_path / "last.png")
    longer = latents_of("--extend", name, "--image", "last.png", *FEW)
    assert torch.equal(longer[:, :, :3], old)


def test_another_program_reads_our_latents(packed, tmp_path):
    """By the rule of specs 8.4: the tensor `latent` of 4 or 5 dimensions, and facts as texts."""
    packed("--negative-prompt", "blur", "--format", "latent", "--run", "run")
    path = tmp_path / "run" / f"{STEM}.latent.safetensors"
    with safe_open(path, "pt") as file:
        (name,), facts = file.keys(), file.metadata()
        latents = file.get_tensor(name)
    assert (name, latents.ndim, latents.dtype) == ("latent", 5, torch.float32)
    assert int(facts["seeds"]) == 3
    assert (int(facts["height"]), int(facts["width"])) == (64, 64)
    window = int(facts["latent_window_size"])
    assert max(round(float(facts["video_seconds"]) * 30 / (4 * window)), 1) * window + 1 == latents.shape[2]
    expected = {
        **{"prompt": "a red ball", "negative_prompt": "blur", "infer_steps": "2", "sample_solver": "unipc"},
        **{"guidance_scale": "1.0", "embedded_cfg_scale": "10.0", "guidance_rescale": "0.0", "fps": "30.0"},
    }
    assert {name: facts[name] for name in expected} == expected


def test_a_decoded_file_says_the_size_of_its_own_latents(packed, reelwright, old, tmp_path):
    save_file({"latent": old}, tmp_path / "bare.safetensors")
    words = (
        "--from-latent",
        "bare.safetensors",
        "--latent-window-size",
        "2",
        "--seed",
        "3",
        "--run",
        "shown",
    )
    assert reelwright("generate", "framepack", *words).code == 0
    with safe_open(tmp_path / "shown" / f"{STEM}.latent.safetensors", "pt") as file:
        facts = file.metadata()
    assert (facts["height"], facts["width"], float(facts["video_seconds"])) == ("64", "64", 9 / 30)
    assert load_file(tmp_path / "shown" / f"{STEM}.latent.safetensors")["latent"].equal(old)


def test_latents_of_another_model_are_not_taken_for_those_of_a_clip(
    packed, generate, refused, latents_of, tmp_path
):
    """Both families have latents of the same shape for the same frames, in other spaces."""
    assert generate("--run", "other").code == 0
    clip = tmp_path / "other" / f"{STEM}.mp4"
    latents = clip.with_suffix(".latent.safetensors")
    longer = latents_of("--extend", clip, *FEW)
    assert not torch.equal(longer[:, :, :3], load_file(latents)["latent"])
    said = refused("--extend", latents, *FEW, "--run", "run", code=1, command=packed)
    assert "its latents are not those of" in said
