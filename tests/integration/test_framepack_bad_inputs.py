"""What cannot be done as asked of videos of sections is said at once; nothing is loaded or written."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from reelwright.families.framepack.tiny import write_model

STEM = "clip-001_seed-3"


@pytest.fixture
def told(refused, packed, tmp_path) -> Callable[..., str]:
    """What is said of a command line that is refused; pictures red.png and blue.png are there."""
    for color in ("red", "blue"):
        Image.new("RGB", (64, 64), color).save(tmp_path / f"{color}.png")

    def run(*words: object, code: int = 2) -> str:
        return refused(*words, "--run", "run", code=code, command=packed)

    return run


def test_sizes_that_are_no_multiples_of_sixteen_are_adjusted_or_refused(packed, told, latents_of):
    words = ("--height", "72", "--width", "100")
    said = told(*words, "--strict")
    assert "height: 72 is no multiple of 16. The nearest is" in said
    assert "width: 100 is no multiple of 16. The nearest is 96." in said
    outcome = packed(*words, "--format", "latent", "--run", "run")
    assert "width: 100 is no multiple of 16. Using 96." in outcome.notices
    assert latents_of(at="run").shape[3:] in ((8, 12), (10, 12))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("--prompt", "a dog;;;3:a cat"),
            "prompt: part 2 ('3:a cat'): there is no section 3. The video has 3",
        ),
        (("--prompt", "a dog;;;-4:a cat"), "there is no section -4."),
        (("--prompt", "0-1:a dog;;;1:a cat"), "section 1 has a value already."),
        (("--prompt", "a dog;;;2-1:a cat"), "the range runs backward."),
        (("--prompt", "a dog;;;1,2:a cat"), "the index cannot be read. Write 2:, -1:, 0-2:"),
        (("--prompt", "a dog;;;"), "part 2 (''): there is nothing."),
        (("--prompt", "0:a dog;;;1:"), "prompt: section 1 has none."),
        (("--image", "0:red.png;;;9:blue.png"), "image: part 2 ('9:blue.png'): there is no section 9."),
        (("--image", "0:red.png;;;1:"), "an index has no image after it."),
        (("--section-seeds", "1:x"), "section_seeds: section 1: 'x' is no seed."),
        (("--section-seeds", "7:1"), "there is no section 7."),
        (
            ("--latent-paddings", "3", "2", "1", "0"),
            "latent_paddings: 4 values for 3 sections. Give at most 3",
        ),
        (("--latent-paddings", "-1"), "latent_paddings"),
        (("--prompt", " "), "prompt: is empty. Describe what to show."),
        (("--guidance-rescale", "0.5"), "Give a --guidance-scale other than 1."),
        (("--strength", "0.5"), "give one with --video."),
        (("--bridge-to", "red.png"), "Give one with --extend."),
        (("--loop", "--end-image", "red.png"), "loop: cannot be together with end_image."),
        (("--story", "s.toml", "--image", "red.png"), "story: cannot be together with image."),
    ],
)
def test_texts_and_options_that_do_not_fit_are_refused(told, words, said):
    assert said in told(*words)


@pytest.mark.parametrize(
    "words",
    [
        ("--end-image", "red.png"),
        ("--loop",),
        ("--latent-paddings", "0"),
        ("--extend", "a", "--bridge-to", "b"),
    ],
)
def test_what_f1_cannot_do_is_refused(told, words):
    said = told("--direction", "forward", *words)
    assert (
        f"{words[-2 if words[0] == '--extend' else 0][2:].replace('-', '_')}: F1 makes sections forward"
        in said
    )


def test_missing_pictures_are_named_with_their_sections(told):
    said = told("--image", "0:red.png;;;1-2:nowhere.png", "--end-image", "gone.png", code=1)
    assert "image of section 1, 2: nowhere.png: there is no such file." in said
    assert "end_image: gone.png: there is no such file." in said


STORIES = {
    "": "holds no sections. Write a [[section]] table",
    "[[section]\n": "story.toml: ",
    '[section]\nprompt = "a"\n': "write [[section]], with two brackets",
    '[[section]]\npromt = "a"\n': "[[section]] 1: promt: unknown key. Did you mean prompt?",
    '[[section]]\nprompt = "a"\nseconds = 1\nsections = 1\n': "Keep one.",
    '[[section]]\nprompt = "a"\nend_image = "red.png"\n': "end_image: belongs above the first [[section]].",
    '[[section]]\nprompt = "a"\nlora_multipliers = [1.0]\n': "1 given, but the run has 0 LoRA files.",
    '[[section]]\nimage = "red.png"\n': "prompt: section 0 has none.",
    'end_image = "red.png"\n[[section]]\nprompt = "a"\n--direction forward': "end_image: F1 makes",
    'end_image = "red.png"\n[[section]]\nprompt = "a"\n--loop': "end_image: cannot be together with loop.",
}


@pytest.mark.parametrize("content", STORIES)
def test_storyboards_that_cannot_be_made_say_where(told, tmp_path, content):
    text, _, flags = content.partition("--")
    (tmp_path / "story.toml").write_text(text)
    said = told("--prompt", "", "--story", "story.toml", *(f"--{flags}".split() if flags else ()))
    assert STORIES[content] in said


def test_a_storyboard_or_an_image_of_it_that_is_not_there_is_named(told, tmp_path):
    assert "there is no such storyboard" in told("--prompt", "", "--story", "nowhere.toml")
    (tmp_path / "story.toml").write_text('[[section]]\nprompt = "a"\nimage = "gone.png"\n')
    said = told("--prompt", "", "--story", "story.toml", code=1)
    assert "image of section 0: gone.png: there is no such file." in said


@pytest.fixture
def told_of_clips(told, packed, tmp_path) -> Callable[..., str]:
    """As told, beside the clip old/clip-001_seed-3.mp4 and its latents."""
    packed("--video-sections", "1", "--run", "old")
    return told


def test_clips_that_cannot_be_used_are_named(told_of_clips, tmp_path):
    latents = tmp_path / "old" / f"{STEM}.latent.safetensors"
    said = told_of_clips("--extend", latents, "--width", "96")
    assert "its latents are of 64 x 64 pixels; the video is 96 x 64." in said
    shutil.copy(latents, tmp_path / "alone.safetensors")
    assert "alone.safetensors has only latents" in told_of_clips("--extend", "alone.safetensors")
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "half.mp4").write_bytes((tmp_path / "old" / f"{STEM}.mp4").read_bytes()[:400])
    (tmp_path / "half.safetensors").write_bytes(latents.read_bytes()[:-50])
    save_file({"latent": torch.full((1, 16, 3, 8, 8), torch.nan)}, tmp_path / "nan.safetensors")
    for name in ("empty.mp4", "half.mp4", "half.safetensors", "nan.safetensors", "nowhere.mp4", "red.png"):
        for flag in ("--extend", "--video"):
            assert name in told_of_clips(flag, name, "--height", "0", "--width", "0", code=1)
    save_file({"latent": torch.zeros(1, 4, 3, 8, 8)}, tmp_path / "other.safetensors")
    said = told_of_clips("--extend", "other.safetensors", "--image", "red.png", code=1)
    assert "other.safetensors: its latents are not those of" in said
    assert "Name the --model that made them" in said


def test_damaged_latents_beside_a_clip_name_the_way_around(told_of_clips, tmp_path):
    latents = tmp_path / "old" / f"{STEM}.latent.safetensors"
    latents.write_bytes(latents.read_bytes()[:-50])
    said = told_of_clips("--extend", f"old/{STEM}.mp4", code=1)
    assert f"{STEM}.latent.safetensors" in said
    assert "--clip-latents encode" in said


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of each direction that says so, and one of each that only its name tells."""
    root = tmp_path_factory.mktemp("models")
    for direction, name in (("backward", "FramePackI2V_HY"), ("forward", "FramePack_F1_I2V_HY")):
        write_model(root / direction, direction=direction)
        shutil.copytree(root / direction, root / name)
        (root / name / "reelwright.json").unlink()
    return root


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        *(("backward", "forward"), ("FramePackI2V_HY", "forward")),
        *(("forward", "backward"), ("FramePack_F1_I2V_HY", "backward")),
    ],
)
def test_a_direction_that_the_checkpoint_does_not_know_is_refused(told, models, name, wrong):
    said = told("--model", models / name, "--direction", wrong)
    assert f"is {'FramePack, not F1' if wrong == 'forward' else 'F1'}" in said
    assert "or the other model with --model or --dit" in said


@pytest.mark.parametrize(("name", "direction"), [("forward", "forward"), ("FramePack_F1_I2V_HY", "forward")])
def test_a_checkpoint_that_says_what_it_is_needs_no_direction(packed, models, tmp_path, name, direction):
    outcome = packed("--model", models / name, "--format", "latent", "--run", "run")
    assert outcome.code == 0, outcome.err
    sections = json.loads((tmp_path / "run" / "sections" / "clip-001" / "manifest.json").read_text())[
        "sections"
    ]
    assert [each["index"] for each in sections] == [0, 1, 2]


def test_a_checkpoint_that_nothing_is_known_of_is_taken_for_the_base_model_and_that_is_said(packed, models):
    shutil.copytree(models / "forward" / "transformer", models / "found")
    outcome = packed("--dit", models / "found", "--model", models / "backward", "--format", "latent")
    assert outcome.code == 0, outcome.err
    assert "For F1 give --direction forward." in outcome.notices


@pytest.mark.parametrize(
    ("flag", "part"),
    [("--text-encoder", "text_encoder_2"), ("--text-encoder-2", "text_encoder"), ("--image-encoder", "vae")],
)
def test_a_part_of_another_kind_is_refused(told, models, flag, part):
    said = told(flag, models / "backward" / part, code=1)
    assert str(models / "backward" / part) in said
    assert told("--vae", models / "backward" / "transformer", code=1)


def test_a_truncated_part_is_named(told, models, tmp_path):
    shutil.copytree(models / "backward", tmp_path / "model")
    path = tmp_path / "model" / "image_encoder" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])
    assert "the file ends early, 1,000 bytes are missing." in told("--model", "./model", code=1)
    shutil.rmtree(path.parent)
    assert "lllyasviel/flux_redux_bfl" in told("--model", "./model", "--offline", code=1)


def test_a_lora_of_another_family_is_refused(told, lora_of):
    said = told("--lora", lora_of("cogvideox"), code=1)
    assert "cogvideox" in said.lower()
