"""`reelwright evaluate` from the command line: clips beside their prompts, wherever these come from."""

import json
from pathlib import Path

import pytest

from reelwright.data.synthetic.describing import describe
from reelwright.data.synthetic.rendering import render_clip
from reelwright.data.synthetic.scene import SceneOptions
from reelwright.media.png_sequence import write_png_sequence

SMALL = ("--width", 64, "--height", 64, "--num-frames", 9, "--fps", 8, "--max-objects", 1, "--no-camera")


@pytest.fixture
def clips(reelwright, tmp_path: Path) -> list[str]:
    """Captions of three clips in the folder `clips`."""
    reelwright("dataset", "synth", "clips", *SMALL, "--count", 3, "--seed", 11)
    return [path.read_text().strip() for path in sorted((tmp_path / "clips").glob("*.txt"))]


def test_synthetic_clips_show_what_their_captions_say(reelwright, clips, tmp_path: Path):
    outcome = reelwright("evaluate", "clips", "--at-least", 100)
    assert outcome.code == 0, outcome.out
    assert "all: 12 of 12 right, 100.0 %" in outcome.out
    report = json.loads((tmp_path / "evaluation.json").read_text())
    assert [clip["prompt"] for clip in report["clips"]] == clips
    assert all(attribute["right"] for clip in report["clips"] for attribute in clip["attributes"])


def test_captions_of_other_clips_are_found_wrong(reelwright, clips, tmp_path: Path):
    (tmp_path / "prompts.txt").write_text("# moved by one\n" + "\n".join([*clips[1:], clips[0]]))
    outcome = reelwright("evaluate", "clips", "--prompts", "prompts.txt", "--at-least", 50)
    assert outcome.code == 1
    assert "warning: clips/clip_00000.mp4: background: " in outcome.out
    assert "fewer than the 50 % asked for" in outcome.err
    assert (tmp_path / "evaluation.json").exists()


def test_events_tell_what_is_said_and_found(reelwright, clips):
    outcome = reelwright("evaluate", "clips/clip_00001.mp4", "--json", "--prompt", "a purple dot")
    (finding,) = [event for event in outcome.events if event["event"] == "item_finding"]
    color = describe(11, 1, SceneOptions(max_objects=1, camera=False)).objects[0].color
    assert finding["kind"] == "color"
    assert finding["message"] == f"purple of the purple, found {color}"
    assert finding["severity"] == "warning"


def test_frames_in_a_folder_are_a_clip(reelwright, tmp_path: Path):
    scene = describe(11, 0, SceneOptions(max_objects=1, camera=False))
    write_png_sequence(tmp_path / "run" / "frames", render_clip(scene, (64, 64), 8.0, 9))
    thing = scene.objects[0]
    prompt = f"a {thing.color} {thing.shape}"
    outcome = reelwright("evaluate", "run", "--prompt", prompt, "--report", "pictures.json")
    assert "all: 2 of 2 right" in outcome.out
    assert json.loads((tmp_path / "pictures.json").read_text())["clips"][0]["clip"] == "run/frames"


def test_clips_that_were_generated_say_their_prompt_themselves(reelwright, tmp_path: Path):
    small = ("--steps", 1, "--num-frames", 9, "--height", 64, "--width", 64, "--seed", 3)
    reelwright("generate", "cogvideox", "--prompt", "a red ball rises", "--run", "made", *small)
    reelwright("evaluate", "made")
    (clip,) = json.loads((tmp_path / "evaluation.json").read_text())["clips"]
    assert clip["prompt"] == "a red ball rises"
    assert [attribute["said"] for attribute in clip["attributes"]] == ["red", "ball", "up"]


def test_sections_and_the_preview_of_a_clip_are_not_clips_of_their_own(reelwright, tmp_path: Path):
    short = ("--steps", 1, "--latent-window-size", 2, "--video-sections", 2, "--height", 64, "--width", 64)
    reelwright("generate", "framepack", "--prompt", "a red ball rises", "--run", "made", "--seed", 3, *short)
    assert (tmp_path / "made" / "preview.mp4").is_file()
    assert list((tmp_path / "made" / "sections").rglob("*.mp4"))
    reelwright("evaluate", "made")
    (clip,) = json.loads((tmp_path / "evaluation.json").read_text())["clips"]
    assert clip["clip"] == "made/clip-001_seed-3.mp4"


def test_a_clip_without_words_is_only_measured(reelwright, clips, tmp_path: Path):
    (tmp_path / "clips" / "clip_00000.txt").unlink()
    outcome = reelwright("evaluate", "clips/clip_00000.mp4")
    assert "only its steadiness is measured" in outcome.notices
    assert "flicker: " in outcome.out
    assert "right" not in outcome.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "name clips"),
        (("nowhere",), "nowhere: there is no such file or folder"),
        (("empty",), "empty: holds neither clips nor folders of frames"),
        (("clips", "--prompts", "two.txt"), "two.txt has 2 prompts for 3 clips"),
        (("clips", "--prompts", "two.txt", "--prompt", "a fox"), "there is --prompt too"),
        (("clips", "--at-least", 101), "at_least: 101.0 is too large"),
    ],
    ids=["nothing", "nowhere", "empty", "too-few", "both", "percent"],
)
def test_bad_requests_are_refused_before_any_clip_is_read(reelwright, clips, tmp_path: Path, words, said):
    (tmp_path / "empty").mkdir()
    (tmp_path / "two.txt").write_text("a fox\na ball\n")
    outcome = reelwright("evaluate", *words)
    assert outcome.code in (1, 2)
    assert said in outcome.err
    assert not (tmp_path / "evaluation.json").exists()
