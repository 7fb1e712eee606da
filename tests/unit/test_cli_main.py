"""The command line from its words to its exit code."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from reelwright import __version__, families, workflows
from reelwright.cli import generate
from reelwright.cli.main import COMMANDS, main
from reelwright.core.config import field_docs
from reelwright.core.errors import ConfigError
from reelwright.core.events import Event, Finished, Notice, StageStarted, StepDone
from reelwright.protocols.configs import ExecutionConfig, GenerateConfig

FAMILY = families.names()[0]
Calls = list[dict[str, Any]]
Run = Callable[..., Iterator[Event]]
Install = Callable[[str, Run], None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Put a function in the place of a workflow."""

    def install_stand_in(name: str, run: Run) -> None:
        (tmp_path / f"{name}.py").touch()
        module = ModuleType(f"reelwright.workflows.{name}")
        module.run = run  # pyright: ignore[reportAttributeAccessIssue]
        monkeypatch.setitem(sys.modules, module.__name__, module)

    monkeypatch.setattr(workflows, "__path__", [str(tmp_path)])
    return install_stand_in


@pytest.fixture
def calls(install: Install) -> Calls:
    """The arguments that stand-ins for the workflows were run with."""
    seen: Calls = []

    def run(**arguments: object) -> Iterator[Event]:
        seen.append(arguments)
        yield StageStarted("denoise", 2)
        yield StepDone("denoise", 1, 2, 0.5)
        yield Notice("height: 100 became 96.")
        yield StepDone("denoise", 2, 2, 0.5)
        yield Finished(
            ({"video": "a.mp4", "latent": "a.safetensors"},), seconds=1.0, peak_memory=2_000_000_000
        )

    for name in ("generate", "replay"):
        install(name, run)
    return seen


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]):
    assert main(["--help"]) == 0
    page = capsys.readouterr().out
    assert all(command.summary in page for command in COMMANDS.values())
    assert main([]) == 0
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.endswith(f"reelwright {__version__}\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["generat"], "error: generat: unknown command. Did you mean generate?"),
        (["generate", FAMILY[:-1]], f"Did you mean {FAMILY}?"),
        (["generate", FAMILY, "--promt", "x"], "error: Perhaps you meant:\nerror:     --prompt STR\n"),
        (["generate", FAMILY, "a.toml", "b.toml"], "error: Unrecognized options: b.toml\n"),
        (["generate", FAMILY, "missing.toml"], "missing.toml: there is no such recipe"),
        (["generate", "--prompt", "x"], "the family comes first"),
        (["generate", FAMILY, "--image-fit", "cop"], "not one of crop, stretch, pad. Did you mean crop?"),
        (["replay", "a.mp4", "b.mp4"], "error: Unrecognized options: b.mp4\n"),
        (["replay", "--out", "x"], "error: Missing from reelwright replay:\nerror:     FILE\n"),
    ],
)
def test_a_misspelt_word_ends_with_the_nearest_right_one(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
):
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.out == ""


def test_generate_merges_defaults_recipe_and_flags(tmp_path: Path, calls: Calls):
    recipe = tmp_path / "fox.toml"
    recipe.write_text(
        f'family = "{FAMILY}"\nprompt = "a fox"\nsteps = 4\nnum-frames = 9\n[execution]\ntiling = true\n'
    )
    assert main(["generate", FAMILY, "--steps", "5", str(recipe), "--execution.dtype", "float32"]) == 0
    (arguments,) = calls
    config: GenerateConfig = arguments["config"]
    assert arguments["family"] == FAMILY
    assert isinstance(config, families.configs(FAMILY).GENERATE)
    assert (config.prompt, config.steps, config.num_frames, config.seed) == ("a fox", 5, 9, -1)
    assert (config.execution.tiling, config.execution.dtype) == (True, "float32")


def test_a_recipe_with_mistakes_names_all_of_them(
    tmp_path: Path, calls: Calls, capsys: pytest.CaptureFixture[str]
):
    recipe = tmp_path / "fox.toml"
    recipe.write_text("stepz = 4\ncrf = 99\n")
    assert main(["generate", FAMILY, str(recipe)]) == 2
    assert capsys.readouterr().err.splitlines() == [
        f"error: {recipe}: stepz: unknown key. Did you mean steps?",
        f"error: {recipe}: crf: 99 is too large. Use 51 or less.",
    ]
    assert calls == []


def test_a_recipe_of_another_family_is_refused(tmp_path: Path):
    (tmp_path / "fox.toml").write_text('family = "other"\n')
    with pytest.raises(ConfigError, match=f"this recipe is for other, not {FAMILY}"):
        generate.parse([FAMILY, str(tmp_path / "fox.toml")])


def test_progress_goes_to_stderr_and_results_to_stdout(calls: Calls, capsys: pytest.CaptureFixture[str]):
    assert main(["generate", FAMILY]) == 0
    captured = capsys.readouterr()
    assert captured.out == "video: a.mp4\nlatent: a.safetensors\n"
    assert captured.err.splitlines() == [
        "denoise: 2 steps",
        "denoise: 1/2, 0.50 s/step, 0 s left",
        "note: height: 100 became 96.",
        "denoise: 2/2, 0.50 s/step, 0 s left",
        "done in 1.0 s, peak memory 2.0 GB",
    ]


def test_quiet_leaves_only_the_results(calls: Calls, capsys: pytest.CaptureFixture[str]):
    assert main(["generate", FAMILY, "--quiet"]) == 0
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("video: a.mp4\nlatent: a.safetensors\n", "")


def test_json_makes_events_the_only_output(calls: Calls, capsys: pytest.CaptureFixture[str]):
    assert main(["--json", "generate", FAMILY]) == 0
    captured = capsys.readouterr()
    events = [json.loads(line) for line in captured.out.splitlines()]
    assert [event["event"] for event in events] == [
        "stage_started",
        "step_done",
        "notice",
        "step_done",
        "finished",
    ]
    assert captured.err == ""
    assert main(["generate", FAMILY, "--steps", "0", "--json"]) == 2
    failure = json.loads(capsys.readouterr().out)
    assert failure == {
        "event": "failed",
        "kind": "ConfigError",
        "message": "command line: steps: 0 is too small. Use 1 or more.",
    }


def test_replay_passes_the_file_and_its_flags_on(calls: Calls):
    assert main(["replay", "clip.mp4", "--run", "again", "--image", "fox.png", "--model", "models/5b"]) == 0
    (arguments,) = calls
    assert arguments["file"] == Path("clip.mp4")
    assert arguments["run"] == Path("again")
    assert arguments["image"] == Path("fox.png")
    assert arguments["out"] == Path("outputs")
    assert arguments["model"] == "models/5b"
    untouched = ("end_image", "video", "control_video", "dit", "vae", "text_encoder", "tokenizer")
    assert {name: arguments[name] for name in untouched} == dict.fromkeys(untouched)


@pytest.mark.parametrize(
    "words",
    [
        ["generate", "--help"],
        ["generate", FAMILY, "--help"],
        ["replay", "-h"],
        ["resume", "--help"],
    ],
)
def test_every_command_has_help(capsys: pytest.CaptureFixture[str], words: list[str]):
    assert main(words) == 0
    assert capsys.readouterr().out.startswith("usage: reelwright")


def test_the_help_of_generate_shows_every_flag_with_its_meaning(capsys: pytest.CaptureFixture[str]):
    assert main(["generate", FAMILY, "--help"]) == 0
    page = " ".join(capsys.readouterr().out.replace("│", "").split())
    schema = families.configs(FAMILY).GENERATE
    for owner, prefix in ((schema, ""), (ExecutionConfig, "execution.")):
        docs = field_docs(owner)
        for name in (field.name for field in fields(owner) if not is_dataclass(field.type)):
            assert f"--{prefix}{name.replace('_', '-')}" in page
            assert " ".join(docs[name].split()) in page


def test_generate_without_a_family_lists_the_families(capsys: pytest.CaptureFixture[str]):
    assert main(["generate"]) == 2
    page = capsys.readouterr().out
    assert all(name in page for name in families.names())


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_command_with_its_exit_code_and_last_event(
    install: Install, capsys: pytest.CaptureFixture[str], number: signal.Signals, code: int
):
    def run(**_: object) -> Iterator[Event]:
        yield StageStarted("denoise", 2)
        os.kill(os.getpid(), number)
        yield StepDone("denoise", 1, 2, 0.5)

    install("generate", run)
    assert main(["generate", FAMILY, "--quiet"]) == code
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", f"stopped by {number.name}; what was finished is kept.\n")
    assert main(["generate", FAMILY, "--json"]) == code
    last = capsys.readouterr().out.splitlines()[-1]
    assert json.loads(last) == {"event": "stopped", "signal": number.name, "advice": ""}


def test_ctrl_c_while_the_command_line_is_read_has_the_same_exit_code(monkeypatch: pytest.MonkeyPatch):
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(generate, "parse", interrupted)
    assert main(["generate", FAMILY]) == 130


def test_a_reader_that_leaves_early_is_no_error():
    code = "import sys; from reelwright.cli.main import main; sys.exit(main(['--help']))"
    reader, writer = os.pipe()
    os.close(reader)
    result = subprocess.run(
        [sys.executable, "-c", code], stdout=writer, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writer)
    assert (result.returncode, result.stderr) == (0, "")
