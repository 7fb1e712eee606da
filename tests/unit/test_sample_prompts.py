"""Files of prompts for clips made while training, in three kinds, with the names that other trainers use."""

import json
from pathlib import Path

import pytest

from reelwright.core.errors import ConfigError, FileError
from reelwright.core.prompt_lines import PromptFile
from reelwright.workflows.training.sample_prompts import read_sample_prompts


def read(folder: Path, name: str, text: str, family: str = "framepack") -> PromptFile:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return read_sample_prompts(path, family)


def test_letters_mean_in_training_what_trainers_mean_by_them(tmp_path: Path):
    text = "# fox\n\na fox --f 73 --g 6.5 --l 2 --w 320 --h 192 --d 7 --s 12 --n blurry --i fox.png\n"
    (line,) = read(tmp_path, "prompts.txt", text).lines
    assert line.prompt == "a fox"
    assert line.line == 3
    assert line.overrides == {
        "num_frames": 73,
        "video_sections": 0,
        "distilled_guidance": 6.5,
        "guidance_scale": 2.0,
        "width": 320,
        "height": 192,
        "seed": 7,
        "steps": 12,
        "negative_prompt": "blurry",
        "image": "fox.png",
    }


def test_where_they_mean_something_else_in_generation_it_is_said(tmp_path: Path):
    (line,) = read(tmp_path, "prompts.txt", "a fox --f 73 --g 6 --l 2").lines
    assert line.notices == (
        "--f 73: --f is frames in prompts for training, whatever it is when clips are generated.",
        "--g 6: --g is distilled guidance in prompts for training; real guidance is --l.",
    )
    (line,) = read(tmp_path, "prompts.txt", "a fox --f 49 --g 6", "cogvideox").lines
    assert line.notices == ()
    assert line.overrides == {"num_frames": 49, "guidance_scale": 6.0}


def test_lists_of_controls_and_options_of_single_frames_are_as_in_generation(tmp_path: Path):
    text = "turn --ci a.png --ci b.png --of target_index=9,control_index=0;10"
    (line,) = read(tmp_path, "prompts.txt", text).lines
    assert line.overrides == {
        "control_image": ["a.png", "b.png"],
        "one_frame": "target_index=9,control_index=0;10",
    }


def test_toml_has_what_all_share_and_a_table_for_each(tmp_path: Path):
    text = """
[prompt]
width = 320
frame_count = 73
sample_steps = 20
[[prompt.subset]]
prompt = "a fox"
seed = 4
[[prompt.subset]]
prompt = "a bird"
frame_count = 37
cfg_scale = 2
control_image_path = "a.png"
"""
    first, second = read(tmp_path, "prompts.toml", text).lines
    shared = {"width": 320, "video_sections": 0, "steps": 20}
    assert (first.prompt, first.line) == ("a fox", 1)
    assert first.overrides == {**shared, "num_frames": 73, "seed": 4}
    assert (second.prompt, second.line) == ("a bird", 2)
    assert second.overrides == {
        **shared,
        "num_frames": 37,
        "guidance_scale": 2,
        "control_image": ["a.png"],
    }


@pytest.mark.parametrize(
    "wrap", [lambda entries: entries, lambda entries: {"data": entries}], ids=["list", "data"]
)
def test_json_is_a_list_also_under_data(tmp_path: Path, wrap):
    entry = {
        "caption": "a fox",
        "image_path": None,
        "video_path": None,
        "num_inference_steps": 50,
        "height": 480,
        "width": 720,
        "num_frames": 49,
        "guidance_scale": 5,
    }
    (line,) = read(tmp_path, "prompts.json", json.dumps(wrap([entry])), "cogvideox").lines
    assert line.prompt == "a fox"
    assert line.overrides == {
        "steps": 50,
        "height": 480,
        "width": 720,
        "num_frames": 49,
        "guidance_scale": 5,
    }


def test_a_word_with_two_meanings_is_refused(tmp_path: Path):
    file = read(tmp_path, "prompts.json", '[{"prompt": "a", "guidance_scale": 10}]')
    (problem,) = file.problems
    assert problem.startswith(f"{tmp_path / 'prompts.json'}: prompt 1: guidance_scale: is distilled guidance")
    assert "distilled_guidance or cfg_scale" in problem


def test_all_that_is_wrong_is_told_by_place(tmp_path: Path):
    file = read(tmp_path, "a.txt", "a fox\nb --f many\nc --num-videos 3\nd --l 2 --guidance-scale 3\n")
    assert [line.prompt for line in file.lines] == ["a fox"]
    assert [said.removeprefix(f"{tmp_path / 'a.txt'}: ") for said in file.problems] == [
        "line 2: --f: 'many' is not a whole number. --f is frames in prompts for training, whatever it is"
        " when clips are generated.",
        "line 3: --num-videos: one clip is made of each prompt. Write the prompt again with another --d.",
        "line 4: --l and --guidance-scale: guidance_scale is given twice. Keep one.",
    ]
    entries = [
        {"width": 3},
        {"prompt": "a", "widht": 3},
        "a",
        {"prompt": "a", "lora": "b"},
        {"prompt": "a", "steps": 1, "sample_steps": 2},
    ]
    file = read(tmp_path, "b.json", json.dumps(entries))
    assert [said.removeprefix(f"{tmp_path / 'b.json'}: ") for said in file.problems] == [
        "prompt 1: there is no prompt. Write one, as text.",
        "prompt 2: widht: unknown key. Did you mean width?",
        "prompt 3: is no table of settings. Write keys and values, prompt among them.",
        "prompt 4: lora: is the same for all prompts of a run. Give --lora on the command line.",
        "prompt 5: steps and sample_steps: steps is given twice. Keep one.",
    ]


@pytest.mark.parametrize(
    ("name", "text", "kind", "words"),
    [
        ("a.txt", "# nothing\n", FileError, "holds no prompt"),
        ("a.json", "[]", FileError, "holds no prompt"),
        ("a.json", "{", ConfigError, "is not valid JSON"),
        ("a.json", '{"prompts": []}', ConfigError, "is no list of prompts"),
        ("a.toml", "[prompts]", ConfigError, "has no table [prompt]"),
        ("a.toml", "[prompt]\nsubset = 3", ConfigError, "prompt.subset: is no list"),
        ("a.toml", "[prompt", ConfigError, "is not valid TOML"),
    ],
    ids=["no lines", "no entries", "broken json", "other json", "other toml", "no subset", "broken toml"],
)
def test_a_file_that_is_no_file_of_prompts_is_refused(
    tmp_path: Path, name: str, text: str, kind: type[Exception], words: str
):
    with pytest.raises(kind, match=name.replace(".", r"\.")) as caught:
        read(tmp_path, name, text)
    assert words in str(caught.value)
