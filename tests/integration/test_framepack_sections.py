"""Videos section by section: what each section shows, how long the video is, and how it is decoded."""

import json
import resource
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from reelwright.core.config import read_toml
from reelwright.media.video_reader import probe_video, read_video

WINDOW = 2
"""Latents of a section, and two are drawn after the one that a video begins with."""
STEM = "clip-001_seed-3"


@pytest.fixture
def pictures(tmp_path, picture) -> list[str]:
    """Names of three pictures of one shape."""
    first = Image.open(picture).crop((0, 0, 90, 90))
    names = ["first.png", "second.png", "third.png"]
    for quarter_turns, name in enumerate(names):
        first.rotate(90 * quarter_turns).save(tmp_path / name)
    return names


def changed_sections(one: torch.Tensor, other: torch.Tensor) -> list[int]:
    """Which sections of two videos differ."""
    assert one.shape == other.shape
    sections = zip(one[:, :, 1:].split(WINDOW, dim=2), other[:, :, 1:].split(WINDOW, dim=2), strict=True)
    return [number for number, (mine, yours) in enumerate(sections) if not torch.equal(mine, yours)]


def test_texts_for_sections_are_the_same_as_a_storyboard(latents_of, tmp_path, pictures):
    (tmp_path / "story").mkdir()
    (tmp_path / "story" / "third.png").write_bytes((tmp_path / "third.png").read_bytes())
    (tmp_path / "story" / "dog.toml").write_text(
        'end_image = "third.png"\nnegative_prompt = "blur"\n'
        '[[section]]\nprompt = "a dog runs"\nimage = "../first.png"\n'
        '[[section]]\nprompt = "it jumps"\nimage = "../second.png"\nseed = 77\n'
        "[[section]]\nsections = 1\n"
    )
    guided = ("--guidance-scale", "2")
    strings = latents_of(
        *("--prompt", "0:a dog runs;;;1:it jumps", "--image", "first.png", "--negative-prompt", "blur"),
        *("--image", "0:first.png;;;1:second.png", "--section-seeds", "1:77", "--end-image", "third.png"),
        *guided,
    )
    story = latents_of("--story", "story/dog.toml", "--prompt", "", *guided)
    assert torch.equal(strings, story)
    negative = latents_of(
        *("--prompt", "0:a dog runs;;;-2:it jumps", "--negative-prompt", "blur"),
        *("--image", "0:first.png;;;-2:second.png", "--section-seeds", "-2:77", "--end-image", "third.png"),
        *guided,
    )
    assert torch.equal(strings, negative)


@pytest.mark.parametrize(("direction", "after"), [("backward", [0, 1]), ("forward", [1, 2])])
def test_a_seed_of_a_section_changes_what_is_made_from_there_on(latents_of, direction, after):
    words = ("--direction", direction)
    assert changed_sections(latents_of(*words), latents_of(*words, "--section-seeds", "1:77")) == after


def test_a_prompt_of_a_section_changes_what_is_made_from_there_on(latents_of):
    one = latents_of("--prompt", "a red ball;;;1:a green car")
    assert changed_sections(latents_of(), one) == [0, 1]
    assert changed_sections(one, latents_of("--prompt", "0:a red ball;;;1:a green car;;;2:a red ball")) == []


def test_an_image_of_a_section_and_an_end_image_change_what_is_made_from_there_on(latents_of, pictures):
    plain = latents_of("--image", "first.png")
    assert changed_sections(plain, latents_of("--image", "0:first.png;;;1:second.png")) == [0, 1]
    assert changed_sections(plain, latents_of("--image", "first.png", "--end-image", "third.png")) == [
        0,
        1,
        2,
    ]
    spread = latents_of(
        "--image", "first.png", "--end-image", "third.png", "--compatibility.end-image", "first"
    )
    assert changed_sections(plain, spread) == [0, 1, 2]


def test_paddings_change_what_sections_believe(latents_of):
    plain = latents_of()
    assert changed_sections(plain, latents_of("--latent-paddings", "2", "1", "0")) == []
    assert changed_sections(plain, latents_of("--latent-paddings", "2")) == []
    assert changed_sections(plain, latents_of("--latent-paddings", "2", "0")) == [0, 1]
    assert changed_sections(plain, latents_of("--latent-paddings", "0", "0", "0")) == [0, 1, 2]


@pytest.mark.parametrize("fps", ["16", "24", "60"])
def test_the_number_of_sections_does_not_depend_on_the_rate(packed, tmp_path, fps):
    assert packed("--fps", fps, "--video-sections", "2", "--run", "run").code == 0
    info = probe_video(tmp_path / "run" / f"{STEM}.mp4")
    assert info.fps == pytest.approx(float(fps))
    assert info.num_frames == 4 * WINDOW * 2 + 1
    assert len(list((tmp_path / "run" / "sections" / "clip-001").glob("section-*.safetensors"))) == 2


@pytest.mark.parametrize(
    ("words", "num_frames"),
    [
        (("--video-sections", "1", "--video-seconds", "9"), 37),
        (("--video-sections", "0", "--video-seconds", "2"), 73),
        (("--video-sections", "0", "--num-frames", "73"), 73),
    ],
)
def test_a_length_is_made_of_whole_sections(latents_of, words, num_frames):
    made = latents_of("--latent-window-size", "9", "--steps", "1", *words)
    assert made.shape == (1, 16, 1 + (num_frames - 1) // 4, 8, 8)


def test_frames_that_are_no_whole_sections_are_adjusted_with_a_notice(packed, refused):
    words = ("--video-sections", "0", "--num-frames", "20", "--format", "latent")
    assert "num_frames: 20 is not one frame and whole sections of 8. Using 17." in packed(*words).notices
    assert "The nearest is 17." in refused(*words, "--strict", code=2, command=packed)


OPTIONS = {
    "rope_scaling_timestep_threshold": 300.0,
    "guidance_scale": 2.5,
    "distilled_guidance": 6.0,
    "flow_shift": 3.0,
    "system_prompt": "Say what you see:",
    "sampler": "dpm",
    "direction": "forward",
}


@pytest.mark.parametrize("name", OPTIONS)
def test_an_option_changes_the_video_and_its_record(latents_of, tmp_path, name):
    flag = ("--" + name.replace("_", "-"), OPTIONS[name])
    assert not torch.equal(latents_of(), latents_of(*flag))
    assert read_toml(tmp_path / "latents-1" / "recipe.toml")[name] == OPTIONS[name]


def test_rescaling_and_the_factor_of_positions_change_what_they_act_on(latents_of):
    guided = ("--guidance-scale", "2.5")
    assert not torch.equal(latents_of(*guided), latents_of(*guided, "--guidance-rescale", "0.7"))
    scaled = ("--rope-scaling-timestep-threshold", "300")
    assert not torch.equal(latents_of(*scaled), latents_of(*scaled, "--rope-scaling-factor", "0.25"))
    assert torch.equal(latents_of(), latents_of("--rope-scaling-factor", "0.25"))


@pytest.mark.parametrize(("num_sections", "is_same"), [(1, True), (3, False)])
def test_decoding_at_once_is_decoding_in_windows_where_one_window_holds_all(
    packed, tmp_path, num_sections, is_same
):
    for run, words in (("windows", ()), ("whole", ("--bulk-decode",))):
        assert packed("--video-sections", num_sections, "--crf", "0", "--run", run, *words).code == 0
    windows, whole = (read_video(tmp_path / run / f"{STEM}.mp4") for run in ("windows", "whole"))
    assert windows.shape == whole.shape == (8 * num_sections + 1, 64, 64, 3)
    assert torch.equal(windows, whole) == is_same


def test_a_preview_grows_by_each_section(reelwright, tmp_path):
    outcome = reelwright(
        *("generate", "framepack", "--prompt", "a ball", "--steps", "1", "--height", "64", "--width", "64"),
        *("--latent-window-size", "2", "--video-sections", "3", "--seed", "3", "--run", "run", "--json"),
    )
    assert outcome.code == 0, outcome.err
    shown = [event for event in outcome.events if event["event"] == "preview_saved"]
    assert [event["step"] for event in shown] == [1, 2, 3]
    assert {Path(event["path"]).name for event in shown} == {"preview.mp4"}
    preview = read_video(tmp_path / "run" / "preview.mp4")
    assert len(preview) == 3 * (4 * (WINDOW - 1) + 1)
    parts = sorted((tmp_path / "run" / "sections" / "clip-001").glob("section-*.mp4"))
    assert torch.equal(preview, torch.cat([read_video(part) for part in parts]))


def test_the_manifest_says_what_each_section_is(packed, tmp_path, pictures):
    packed(
        "--prompt", "0:a dog;;;1:it jumps", "--image", "first.png", "--section-seeds", "1:77", "--run", "run"
    )
    folder = tmp_path / "run" / "sections" / "clip-001"
    sections = json.loads((folder / "manifest.json").read_text())["sections"]
    by_index = {section["index"]: section for section in sections}
    assert [section["index"] for section in sections] == [2, 1, 0]
    assert [by_index[number]["facts"]["prompt"] for number in range(3)] == ["a dog", "it jumps", "a dog"]
    assert [by_index[number]["facts"]["seed"] for number in range(3)] == [3, 77, 3]
    whole = load_file(tmp_path / "run" / f"{STEM}.latent.safetensors")["latent"]
    for section in sections:
        first, last = section["facts"]["latents"]
        kept = load_file(folder / section["file"])["latent"]
        assert torch.equal(kept, whole[:, :, first:last])


def test_memory_does_not_grow_with_the_length(in_process, small_model):
    """The largest child of this process held about as much for 24 sections as for 3."""
    words = (
        *("generate", "framepack", "--prompt", "a ball", "--steps", "1", "--height", "64", "--width", "64"),
        *("--latent-window-size", "2", "--seed", "3", "--preview-every", "0", "--quiet"),
        *("--model", small_model("framepack")),
    )
    held: list[int] = []
    for count in (3, 24):
        assert in_process(*words, "--video-sections", count, "--run", f"run-{count}").code == 0
        held.append(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
    assert held[1] - held[0] < 6_000, "kB; the frames alone as 32-bit numbers are 9,000"
