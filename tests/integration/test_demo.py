"""The built-in model draws what the demo asks for."""

import re
import shlex
from pathlib import Path

import pytest

from reelwright.cli.main import main

ROOT = Path(__file__).parents[2]


def demo_command() -> list[str]:
    """What `make demo` runs, with its own prompt."""
    text = (ROOT / "Makefile").read_text()
    prompt = re.search(r"(?m)^PROMPT \?= (.*)$", text)
    command = re.search(r"(?m)^demo:.*\n\t\$\(BIN\)/reelwright (.*)$", text)
    assert prompt and command
    return shlex.split(command[1].replace("$(PROMPT)", prompt[1]))


def test_the_clip_of_the_demo_shows_what_its_prompt_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert main([*demo_command(), "--run", "demo"]) == 0
    assert main(["evaluate", "demo", "--at-least", "100"]) == 0


def test_a_clip_of_other_words_does_not_pass_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    words = [word.replace("yellow star", "red heart").replace("right", "left") for word in demo_command()]
    assert words != demo_command()
    assert main([*words, "--steps", "20", "--run", "other"]) == 0
    said = "a yellow star moves right over the sea"
    assert main(["evaluate", "other", "--prompt", said, "--at-least", "30"]) != 0
