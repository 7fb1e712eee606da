"""Going on with a run folder: its recipe is read, its workflow started in the same folder."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from reelwright import families, workflows
from reelwright.cli.main import main
from reelwright.core.config import to_toml
from reelwright.core.events import Event, Finished
from reelwright.protocols.configs import GenerateConfig

FAMILY = families.names()[0]
IDENTITY = {"workflow": "generate", "family": FAMILY}


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The arguments that a stand-in for the workflow was run with."""
    seen: list[dict[str, Any]] = []

    def run(**arguments: object) -> Iterator[Event]:
        seen.append(arguments)
        yield Finished()

    package = tmp_path / "workflows"
    package.mkdir()
    (package / "generate.py").touch()
    module = ModuleType("reelwright.workflows.generate")
    module.run = run  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(workflows, "__path__", [str(package)])
    return seen


def config(**values: Any) -> GenerateConfig:
    return replace(families.configs(FAMILY).GENERATE(), **values)


def store(folder: Path, recipe: str) -> Path:
    folder.mkdir(parents=True)
    (folder / "recipe.toml").write_text(recipe)
    return folder


def complaint(folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["resume", str(folder)]) == 2
    return capsys.readouterr().err


def test_a_run_goes_on_with_its_recipe_in_its_folder(tmp_path: Path, calls: list[dict[str, Any]]):
    made = config(prompt="a fox", steps=4, seed=7, image=Path("fox.png"))
    run = store(tmp_path / "fox", to_toml(made, IDENTITY))
    assert main(["resume", str(run), "--quiet"]) == 0
    assert calls == [{"family": FAMILY, "config": replace(made, run=run)}]


def test_a_run_that_was_moved_goes_on_where_it_lies_now(tmp_path: Path, calls: list[dict[str, Any]]):
    made = config(prompt="a fox", run=tmp_path / "old")
    moved = store(tmp_path / "new", to_toml(made, IDENTITY))
    assert main(["resume", str(moved), "--quiet"]) == 0
    assert calls[0]["config"].run == moved


def test_a_misspelt_run_is_answered_with_the_nearest_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    store(tmp_path / "20260101-120000_fox", "")
    store(tmp_path / "something-else", "")
    (tmp_path / "20260101-120000_foxy").mkdir()
    message = complaint(tmp_path / "20260101-120000_foxy", capsys)
    assert "20260101-120000_foxy: is no run folder, it has no recipe.toml." in message
    assert f"Did you mean {tmp_path / '20260101-120000_fox'}?" in message


def test_a_folder_of_runs_is_answered_with_its_last_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for name in ("20260103-080000_b", "20260101-080000_c", "20260102-080000_a"):
        store(tmp_path / name, "")
    assert f"Its last run is {tmp_path / '20260103-080000_b'}." in complaint(tmp_path, capsys)


def test_a_file_of_a_run_is_answered_with_its_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    run = store(tmp_path / "fox", "")
    assert f"Did you mean {run}?" in complaint(run / "clip.mp4", capsys)


def test_a_folder_far_from_any_run_is_answered_with_what_a_run_looks_like(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert "Name the folder that a run printed" in complaint(tmp_path / "nothing" / "here", capsys)


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ('prompt = "a fox"\n', "recipe.toml: workflow: is missing"),
        ('workflow = "generate"\n', "recipe.toml: family: is missing"),
        ('workflow = "generate"\nfamily = "unknown"\n', "'unknown' is no model family"),
        (f'workflow = "generat"\nfamily = "{FAMILY}"\n', "unknown workflow. Did you mean generate?"),
        (
            f'workflow = "generate"\nfamily = "{FAMILY}"\nstepz = 4\n',
            "stepz: unknown key. Did you mean steps?",
        ),
        ("workflow =", "is not valid TOML"),
    ],
)
def test_a_damaged_recipe_is_explained(
    tmp_path: Path,
    calls: list[dict[str, Any]],
    capsys: pytest.CaptureFixture[str],
    recipe: str,
    message: str,
):
    assert message in complaint(store(tmp_path / "fox", recipe), capsys)
    assert calls == []


def test_resume_takes_one_run(capsys: pytest.CaptureFixture[str]):
    assert main(["resume"]) == 2
    assert "RUN" in capsys.readouterr().err
    assert main(["resume", "a", "b"]) == 2
    assert capsys.readouterr().err.startswith("error: Unrecognized options: b\n")
