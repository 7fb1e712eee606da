"""Prompts with options on their line, in files and at the prompt."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from reelwright import families
from reelwright.core.errors import FileError
from reelwright.core.prompt_lines import (
    PromptFile,
    PromptLine,
    PromptOption,
    parse_prompt_line,
    prompt_options,
    read_prompt_file,
    with_option,
)

WITH_FRAMES = families.configs("cogvideox").PROMPT_OPTIONS
WITH_SECONDS = families.configs("framepack").PROMPT_OPTIONS


def read(tmp_path: Path, text: str) -> PromptFile:
    path = tmp_path / "prompts.txt"
    path.write_text(text, encoding="utf-8")
    return read_prompt_file(path, WITH_FRAMES)


def parse(text: str, options=WITH_SECONDS) -> PromptLine:
    return parse_prompt_line(text, 1, options)


def problem(text: str, options=WITH_SECONDS) -> str:
    with pytest.raises(ValueError, match=r".") as caught:
        parse(text, options)
    return str(caught.value)


def test_every_letter_sets_its_field():
    text = 'a fox --w 720 --h 480 --f 49 --d 42 --s 50 --g 6 --n "bad, blurry" --i in.png --ei end.png'
    line = parse(text, WITH_FRAMES)
    assert line.prompt == "a fox"
    assert line.overrides == {
        "width": 720,
        "height": 480,
        "num_frames": 49,
        "seed": 42,
        "steps": 50,
        "guidance_scale": 6.0,
        "negative_prompt": "bad, blurry",
        "image": "in.png",
        "end_image": "end.png",
    }
    assert isinstance(line.overrides["guidance_scale"], float)


def test_the_lines_of_the_guide_are_read_as_it_says():
    line = parse("A beautiful sunset over mountains --w 832 --h 480 --f 5 --d 42 --s 20 --i path/start.jpg")
    assert line.prompt == "A beautiful sunset over mountains"
    expected = {"width": 832, "height": 480, "video_seconds": 5.0, "seed": 42, "steps": 20}
    also = {"image": "path/start.jpg", "video_sections": 0, "num_frames": 0}
    assert line.overrides == {**expected, **also}
    line = parse(
        "edit --l 2 --vs 1 --n bad --ei e.png --ci a.png --ci b.png --im m.png --cim n.png --fs 3"
        " --of target_index=9,control_index=0;1"
    )
    assert line.overrides == {
        "guidance_scale": 2.0,
        "video_sections": 1,
        "negative_prompt": "bad",
        "end_image": "e.png",
        "control_image": ["a.png", "b.png"],
        "control_mask": ["m.png", "n.png"],
        "flow_shift": 3.0,
        "one_frame": "target_index=9,control_index=0;1",
    }


def test_seconds_of_a_line_go_over_sections_of_the_run_but_not_over_its_own():
    assert parse("a --f 2").overrides == {"video_seconds": 2.0, "video_sections": 0, "num_frames": 0}
    assert parse("a --f 2 --vs 3").overrides["video_sections"] == 3
    assert parse("a --vs 3 --video-seconds 2").overrides["video_sections"] == 3


@pytest.mark.parametrize(
    ("text", "overrides"),
    [
        ("a --video-sections 2 --latent_window_size 5", {"video_sections": 2, "latent_window_size": 5}),
        ("a --latent-paddings 0,0, 1", {"latent_paddings": [0, 0, 1]}),
        ("a --control-image x.png --ci y, z.png", {"control_image": ["x.png", "y, z.png"]}),
        ("a --loop", {"loop": True}),
        ("a --no-loop --bulk_decode false", {"loop": False, "bulk_decode": False}),
        ("a --sampler euler --rope-scaling-factor .7", {"sampler": "euler", "rope_scaling_factor": 0.7}),
        ("--prompt a --distilled-guidance 6", {"distilled_guidance": 6.0}),
    ],
)
def test_every_field_has_its_long_name_too(text, overrides):
    assert parse(text) == PromptLine(prompt="a", overrides=overrides, line=1)


def test_a_storyboard_needs_no_other_words():
    assert parse("--story film.toml") == PromptLine(prompt="", overrides={"story": "film.toml"}, line=1)


def test_comments_and_blank_lines_are_skipped_but_counted(tmp_path: Path):
    lines = read(tmp_path, "# animals\n\na fox\n   # more\n a hen --d 1\r\n").lines
    assert [(line.line, line.prompt) for line in lines] == [(3, "a fox"), (5, "a hen")]


@pytest.mark.parametrize(
    ("text", "prompt", "overrides"),
    [
        ("a fox@@my fox.png --d 3", "a fox", {"image": "my fox.png", "seed": 3}),
        ('a fox@@"my --w fox.png" --d 3', "a fox", {"image": "my --w fox.png", "seed": 3}),
        ("a fox --i my fox.png --d 3", "a fox", {"image": "my fox.png", "seed": 3}),
        ("a well-lit fox -- at dusk --d=-1", "a well-lit fox -- at dusk", {"seed": -1}),
        ("a well--lit fox --d = 5", "a well--lit fox", {"seed": 5}),
        ("a fox --n 'no --w here' --w 16", "a fox", {"negative_prompt": "no --w here", "width": 16}),
        ('a fox --n no "--w" here --w 16', "a fox", {"negative_prompt": 'no "--w" here', "width": 16}),
        ('a fox --n ""', "a fox", {"negative_prompt": ""}),
        ('the word "fox"', 'the word "fox"', {}),
        ('a sign that says "go --w home". --w 16', 'a sign that says "go --w home".', {"width": 16}),
        ('"a sign: --stop here" --w 16', "a sign: --stop here", {"width": 16}),
        ("the dogs' --w 16", "the dogs'", {"width": 16}),
        ("the '90s --w 16 --n '80s", "the '90s", {"width": 16, "negative_prompt": "'80s"}),
        ('a 6" board --w 16 --n "bad"', 'a 6" board', {"width": 16, "negative_prompt": "bad"}),
    ],
)
def test_a_line_is_split_where_a_reader_would(text, prompt, overrides):
    line = parse(text)
    assert (line.prompt, line.overrides) == (prompt, overrides)


def test_all_mistakes_are_named_with_file_and_line_and_the_good_lines_are_read(tmp_path: Path):
    text = "a --width x\n--w 3\nb --w x\nfine\nc --w 3 --w 4\nd@@x --i y\ne --w\nf --wq 3\ng --g high\n"
    found = read(tmp_path, text)
    path = tmp_path / "prompts.txt"
    quotes = "If it belongs to the prompt, put quotes around the prompt."
    assert [line.prompt for line in found.lines] == ["fine"]
    assert found.problems == [
        f"{path}: line 1: --width: 'x' is not a whole number.",
        f"{path}: line 2: there is no prompt before the options. Write one.",
        f"{path}: line 3: --w: 'x' is not a whole number.",
        f"{path}: line 5: --w: width is given twice. Keep one.",
        f"{path}: line 6: @@ and --i: image is given twice. Keep one.",
        f"{path}: line 7: --w: has no value. Give one after it.",
        f"{path}: line 8: --wq: unknown option. Did you mean --w? {quotes}",
        f"{path}: line 9: --g: 'high' is not a number.",
    ]


def test_letters_and_long_names_of_one_field_exclude_each_other():
    assert problem("a --g 2 --l 3") == "--g and --l: guidance_scale is given twice. Keep one."
    assert problem("a --w 2 --width 3") == "--w and --width: width is given twice. Keep one."
    assert problem("a --prompt b").endswith("prompt is given twice. Keep one.")


def test_words_that_begin_with_dashes_are_options_unless_quoted():
    assert "--stepps: unknown option. Did you mean --steps?" in problem("a sign that reads --stepps here")
    assert "put quotes around the prompt" in problem("a --xyzzy thing")
    assert parse("a sign that reads '--stop here'").prompt == "a sign that reads '--stop here'"


def test_frames_given_as_seconds_are_explained():
    (said,) = parse("a --f 121").notices
    assert said.startswith("--f 121: --f is seconds here")
    assert "--num-frames" in said
    assert parse("a --f 60 --g 1.5").notices == ()
    assert parse("a --f 61.5").notices == ()
    assert parse("a --video-seconds 121").notices == ()
    assert parse("a --f 121", WITH_FRAMES).notices == ()
    assert "--f is seconds here" in problem("a --f 5s")
    assert "--f is frames" in problem("a --f 5.5", WITH_FRAMES)


def test_distilled_guidance_given_as_real_guidance_is_explained():
    (said,) = parse("a --g 10").notices
    assert "--distilled-guidance" in said


@pytest.mark.parametrize("letter", ["mcrr", "mct", "mck"])
def test_letters_of_the_step_cache_are_refused_by_name(letter):
    said = problem(f"a --{letter} 0.2")
    assert said.startswith(f"--{letter}: ")
    assert "same for all prompts" in said


@pytest.mark.parametrize("name", ["model", "direction", "text-encoder-2", "execution", "lora", "out"])
def test_what_is_the_same_for_all_prompts_cannot_be_set_by_one(name):
    assert problem(f"a --{name} x") == (
        f"--{name}: is the same for all prompts of a run. Give --{name} on the command line."
    )


@dataclass(frozen=True)
class Small:
    """A schema of a few fields."""

    strength: float = 0.5
    mode: Literal["a", "b"] | Literal["c"] = "a"
    is_on: bool = False


def test_a_table_of_other_letters_and_fields_can_be_given():
    options = prompt_options(Small, {"t": PromptOption(sets="strength", kind=float)})
    line = parse_prompt_line("a fox --t 0.5 --mode c --is-on", 1, options)
    assert line.overrides == {"strength": 0.5, "mode": "c", "is_on": True}
    assert "neither true nor false" in problem("a --is-on maybe", options)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a fox", "a fox --seed 5"),
        ("a fox --d -1 --n 'no --w here' --w 16", "a fox --n 'no --w here' --w 16 --seed 5"),
        ('"a --sign" --loop --seed=3', '"a --sign" --loop --seed 5'),
    ],
)
def test_an_option_can_be_put_into_a_line_instead_of_its_own(text, expected):
    changed = with_option(text, "seed", 5, WITH_SECONDS)
    assert changed.replace("  ", " ") == expected
    assert parse(changed).overrides == {**parse(text).overrides, "seed": 5}


def test_a_file_that_cannot_be_used_is_named(tmp_path: Path):
    with pytest.raises(FileError, match=r"gone\.txt: there is no such file"):
        read_prompt_file(tmp_path / "gone.txt", WITH_FRAMES)
    with pytest.raises(FileError, match="holds no prompt"):
        read(tmp_path, "# only a comment\n")
    (tmp_path / "latin.txt").write_bytes(b"f\xfcchse")
    with pytest.raises(FileError, match="UTF-8"):
        read_prompt_file(tmp_path / "latin.txt", WITH_FRAMES)
