"""Every output of sections and single frames can be made again, wherever its inputs lie now."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from reelwright.media.image_ops import read_png_metadata
from reelwright.media.video_reader import read_mp4_metadata

STEM = "clip-001_seed-3"


@pytest.fixture
def pictures(tmp_path) -> None:
    """Four pictures, of which the last has a hole."""
    for name in ("red", "green", "blue"):
        Image.new("RGB", (64, 64), name).save(tmp_path / f"{name}.png")
    Image.radial_gradient("L").resize((64, 64)).save(tmp_path / "hole.png")


@pytest.fixture
def same_again(reelwright, tmp_path, digests) -> Callable[..., None]:
    """Expect that an output of the run `made` makes the same files again."""

    def check(name: str, *words: object) -> None:
        outcome = reelwright("replay", f"made/{name}", *words, "--run", "again")
        assert outcome.code == 0, outcome.err
        assert digests(tmp_path / "again") == digests(tmp_path / "made")
        shutil.rmtree(tmp_path / "again")

    return check


@pytest.mark.parametrize("direction", ["backward", "forward"])
def test_each_output_of_a_video_makes_all_of_them_again(packed, same_again, pictures, direction):
    options = ("--direction", direction, "--sampler", "dpm", "--posterior", "sample", "--guidance-scale", "2")
    images = (
        "--image",
        "0:red.png;;;1:green.png",
        "--prompt",
        "0:a ball;;;1:a car",
        "--section-seeds",
        "-1:9",
    )
    assert packed(*options, *images, "--negative-prompt", "blur", "--run", "made").code == 0
    for name in (f"{STEM}.mp4", f"{STEM}.sheet.png", f"{STEM}.latent.safetensors"):
        same_again(name)


@pytest.mark.parametrize("kind", ["images", "latent_images", "both", "latent"])
def test_each_format_makes_itself_again(packed, same_again, tmp_path, kind):
    assert packed("--format", kind, "--video-sections", "1", "--run", "made").code == 0
    outputs = [path.name for path in (tmp_path / "made").glob("clip-*")]
    assert (STEM in outputs) == (kind.endswith("images"))
    assert (f"{STEM}.mp4" in outputs) == (kind == "both")
    for name in outputs:
        same_again(name)


def recorded_inputs(made: Path) -> set[str]:
    return set(json.loads(read_mp4_metadata(made / f"{STEM}.mp4")["reelwright"])["inputs"])


def test_images_of_sections_that_were_moved_can_be_named(packed, reelwright, same_again, pictures, tmp_path):
    images = ("--image", "0:red.png;;;1:green.png;;;2:red.png", "--end-image", "blue.png")
    assert packed(*images, "--run", "made").code == 0
    assert recorded_inputs(tmp_path / "made") == {"image 1", "image 2", "end_image"}
    (tmp_path / "red.png").rename(tmp_path / "moved.png")
    (tmp_path / "blue.png").rename(tmp_path / "end.png")
    outcome = reelwright("replay", f"made/{STEM}.mp4")
    assert outcome.code == 1
    assert "image of section 0, 2: red.png: there is no such file" in outcome.err
    same_again(f"{STEM}.mp4", "--image", "0:moved.png;;;1:green.png;;;2:moved.png", "--end-image", "end.png")
    said = reelwright(
        "replay", f"made/{STEM}.mp4", "--image", "0:green.png;;;1:moved.png", "--end-image", "end.png"
    )
    assert said.code == 1
    assert "is not the file that was used then. Name it with --image." in said.err


def test_a_storyboard_that_was_moved_with_its_images_can_be_named(
    packed, reelwright, same_again, pictures, tmp_path
):
    story = tmp_path / "here" / "story.toml"
    story.parent.mkdir()
    for name in ("red", "blue"):
        (tmp_path / f"{name}.png").rename(story.with_name(f"{name}.png"))
    story.write_text(
        'end_image = "blue.png"\n[[section]]\nprompt = "a dog"\nimage = "red.png"\n'
        "[[section]]\nseconds = 0.6\n"
    )
    assert packed("--prompt", "", "--story", story, "--run", "made").code == 0
    assert recorded_inputs(tmp_path / "made") == {"story", "story 1", "story 2"}
    story.parent.rename(tmp_path / "there")
    outcome = reelwright("replay", f"made/{STEM}.mp4")
    assert outcome.code == 2
    assert "there is no such storyboard" in outcome.err
    same_again(f"{STEM}.mp4", "--story", tmp_path / "there" / "story.toml")
    Image.new("RGB", (64, 64), "gray").save(tmp_path / "there" / "blue.png")
    outcome = reelwright("replay", f"made/{STEM}.mp4", "--story", "there/story.toml")
    assert outcome.code == 1
    assert "blue.png is not the file that was used then. Name it with --story." in outcome.err


FEW = ("--video-sections", "1", "--height", "0", "--width", "0")


def test_clips_and_the_latents_beside_them_that_were_moved_can_be_named(
    packed, reelwright, same_again, pictures, tmp_path
):
    assert packed("--video-sections", "1", "--prompt", "a car", "--run", "old").code == 0
    clip = f"old/{STEM}.mp4"
    assert packed("--extend", clip, "--bridge-to", clip, *FEW, "--run", "made").code == 0
    names = {"extend", "extend latents", "bridge_to", "bridge_to latents"}
    assert recorded_inputs(tmp_path / "made") == names
    (tmp_path / "old").rename(tmp_path / "elsewhere")
    moved = f"elsewhere/{STEM}.mp4"
    assert clip in reelwright("replay", f"made/{STEM}.mp4").err
    same_again(f"{STEM}.mp4", "--extend", moved, "--bridge-to", moved)
    (tmp_path / "elsewhere" / f"{STEM}.latent.safetensors").unlink()
    outcome = reelwright("replay", f"made/{STEM}.mp4", "--extend", moved, "--bridge-to", moved)
    assert outcome.code == 1
    assert "is not the file that was used then." in outcome.err


def test_latents_that_appear_beside_a_clip_do_not_change_what_is_made_again(packed, reelwright, tmp_path):
    packed("--video-sections", "1", "--prompt", "a car", "--run", "old")
    latents = tmp_path / "old" / f"{STEM}.latent.safetensors"
    latents.rename(tmp_path / "away.safetensors")
    assert packed("--extend", f"old/{STEM}.mp4", *FEW, "--run", "made").code == 0
    (tmp_path / "away.safetensors").rename(latents)
    outcome = reelwright("replay", f"made/{STEM}.mp4")
    assert (outcome.code, outcome.loaded) == (1, [])
    assert f"{latents.name} was not used then. Move it away." in outcome.err


def test_the_frames_beside_latents_that_the_image_encoder_sees_are_an_input(packed, tmp_path, pictures):
    packed("--video-sections", "1", "--prompt", "a car", "--run", "old")
    latents = f"old/{STEM}.latent.safetensors"
    assert packed("--extend", latents, *FEW, "--run", "made").code == 0
    assert recorded_inputs(tmp_path / "made") == {"extend", "extend frames"}
    assert packed("--extend", latents, "--image", "red.png", *FEW, "--run", "other").code == 0
    assert recorded_inputs(tmp_path / "other") == {"extend", "image 1"}
    assert packed("--video", f"old/{STEM}.mp4", *FEW, "--run", "third").code == 0
    assert recorded_inputs(tmp_path / "third") == {"video", "video latents"}


def test_control_images_and_masks_that_were_moved_can_be_named(
    packed, reelwright, same_again, pictures, tmp_path
):
    controls = ("--control-image", "red.png", "green.png", "--control-mask", "hole.png")
    assert packed("--one-frame", "control_index=0;1", *controls, "--run", "made").code == 0
    record = json.loads(read_png_metadata(tmp_path / "made" / STEM / "frame_00000.png")["reelwright"])
    assert set(record["inputs"]) == {"control_image 1", "control_image 2", "control_mask 1"}
    for name in ("red", "hole"):
        (tmp_path / f"{name}.png").rename(tmp_path / f"{name}-moved.png")
    assert "red.png: there is no such file" in reelwright("replay", f"made/{STEM}").err
    moved = ("--control-image", "red-moved.png", "green.png", "--control-mask", "hole-moved.png")
    same_again(STEM, *moved)
    same_again(f"{STEM}.latent.safetensors", *moved)
    swapped = ("--control-image", "green.png", "red-moved.png", "--control-mask", "hole-moved.png")
    outcome = reelwright("replay", f"made/{STEM}", *swapped)
    assert outcome.code == 1
    assert "Name it with --control-image." in outcome.err


def test_a_lora_that_was_moved_can_be_named(packed, reelwright, same_again, lora_of, tmp_path):
    lora = lora_of("framepack")
    assert (
        packed("--lora", lora, "--lora-multiplier", "0.5", "--video-sections", "1", "--run", "made").code == 0
    )
    moved = lora.rename(tmp_path / "moved.safetensors")
    outcome = reelwright("replay", f"made/{STEM}.mp4")
    assert outcome.code == 1
    assert lora.name in outcome.err
    same_again(f"{STEM}.mp4", "--lora", moved)
    outcome = reelwright("replay", f"made/{STEM}.mp4", "--lora", lora_of("framepack", 1))
    assert outcome.code == 1
    assert "these are other weights" in outcome.err


def test_a_section_made_again_is_in_the_record(packed, reelwright, same_again, digests, tmp_path):
    packed("--run", "made")
    words = ("--redo-section", "1", "--prompt", "a car", "--seed", "8")
    assert reelwright("resume", "made", *words).code == 0
    same_again(f"{STEM}.mp4")
