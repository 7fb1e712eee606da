"""Files of prompts with options on each line."""

from pathlib import Path

import pytest

from reelwright.core.errors import ConfigError, FileError
from reelwright.core.prompt_lines import PromptLine, read_prompt_file


def read(tmp_path: Path, text: str) -> list[PromptLine]:
    path = tmp_path / "prompts.txt"
    path.write_text(text, encoding="utf-8")
    return read_prompt_file(path)


def test_every_option_sets_its_field(tmp_path: Path):
    text = 'a fox --w 720 --h 480 --f 49 --d 42 --s 50 --g 6 --n "bad, blurry" --i in.png --ei end.png'
    (line,) = read(tmp_path, text)
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


def test_comments_and_blank_lines_are_skipped_but_counted(tmp_path: Path):
    lines = read(tmp_path, "# animals\n\na fox\n   # more\n a hen --d 1\r\n")
    assert [(line.line, line.prompt) for line in lines] == [(3, "a fox"), (5, "a hen")]


@pytest.mark.parametrize(
    ("text", "prompt", "overrides"),
    [
        ("a fox@@my fox.png --d 3", "a fox", {"image": "my fox.png", "seed": 3}),
        ("a fox --i my fox.png --d 3", "a fox", {"image": "my fox.png", "seed": 3}),
        ("a well-lit fox -- at dusk --d=-1", "a well-lit fox -- at dusk", {"seed": -1}),
        ("a fox --n 'no --w here' --w 16", "a fox", {"negative_prompt": "no --w here", "width": 16}),
        ('a fox --n ""', "a fox", {"negative_prompt": ""}),
        ('the word "fox"', 'the word "fox"', {}),
    ],
)
def test_a_line_is_split_where_a_reader_would(tmp_path: Path, text, prompt, overrides):
    (line,) = read(tmp_path, text)
    assert (line.prompt, line.overrides) == (prompt, overrides)


def test_all_mistakes_are_named_with_file_and_line(tmp_path: Path):
    text = "a --width 3\n--w 3\nb --w x\nfine\nc --w 3 --w 4\nd@@x --i y\ne --w\nf --wq 3\ng --g high\n"
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    path = tmp_path / "prompts.txt"
    assert str(caught.value).splitlines() == [
        f"{path}: line 1: --width: unknown option. In a prompt file width is --w.",
        f"{path}: line 2: there is no prompt before the options. Write one.",
        f"{path}: line 3: --w: 'x' is not a whole number.",
        f"{path}: line 5: --w: width is given twice. Keep one.",
        f"{path}: line 6: --i: image is given twice. Keep one.",
        f"{path}: line 7: --w: has no value. Give one after it.",
        f"{path}: line 8: --wq: unknown option. Did you mean --w?",
        f"{path}: line 9: --g: 'high' is not a number.",
    ]


def test_a_table_of_other_letters_can_be_given(tmp_path: Path):
    path = tmp_path / "prompts.txt"
    path.write_text("a fox --t 0.5")
    (line,) = read_prompt_file(path, {"t": ("strength", float)})
    assert line.overrides == {"strength": 0.5}


def test_a_file_that_cannot_be_used_is_named(tmp_path: Path):
    with pytest.raises(FileError, match=r"gone\.txt: there is no such file"):
        read_prompt_file(tmp_path / "gone.txt")
    with pytest.raises(FileError, match="holds no prompt"):
        read(tmp_path, "# only a comment\n")
    (tmp_path / "latin.txt").write_bytes(b"f\xfcchse")
    with pytest.raises(FileError, match="UTF-8"):
        read_prompt_file(tmp_path / "latin.txt")
