"""Runs in processes of their own that are stopped as users and systems stop them, and go on."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from reelwright.cli.main import main

from .forks import Fork
from .stopped_runs import Event, half_built, wait_for
from .training_data import losses_of, make_data, weights_of

STEPS = 40
"""So many that a signal finds the run at work."""
ENV = {**os.environ, "OMP_NUM_THREADS": "1"}
TOGETHER = (
    sys.executable,
    "-m",
    "torch.distributed.run",
    "--standalone",
    "--nproc-per-node",
    "2",
)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe for a few steps on small clips."""
    folder = tmp_path_factory.mktemp("data")
    data = make_data(folder, "cogvideox")
    path = folder / "recipe.toml"
    path.write_text(
        f'dataset = "{data}"\nsteps = {STEPS}\nseed = 5\n[adapter]\nrank = 4\n'
        "[saving]\nstate_every_steps = 4\nevery_steps = 10\n"
    )
    return path


@pytest.fixture(scope="module")
def whole(recipe: Path) -> Path:
    """The folder of a run that nothing stopped."""
    run = recipe.parent / "whole"
    assert main(["train", "cogvideox", str(recipe), "--run", str(run), "--quiet"]) == 0
    return run


def reports_a_few_steps(event: Event) -> bool:
    return event["event"] == "step_done" and event["step"] >= 6


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9)], ids=str
)
def test_a_run_that_is_stopped_by_a_signal_goes_on_to_the_same_bytes(
    number: signal.Signals, code: int, start: Callable[..., Fork], recipe: Path, whole: Path, tmp_path: Path
):
    run = tmp_path / "run"
    process = start("train", "cogvideox", recipe, "--run", run)
    wait_for(process, reports_a_few_steps)
    process.send_signal(number)
    process.communicate()
    assert process.returncode == code
    assert len(losses_of(run)) < STEPS
    assert main(["resume", str(run), "--quiet"]) == 0
    assert losses_of(run) == losses_of(whole)
    assert weights_of(run) == weights_of(whole)
    assert half_built(run) == []


def test_files_in_the_run_folder_save_and_stop_it(
    start: Callable[..., Fork], recipe: Path, whole: Path, tmp_path: Path
):
    run = tmp_path / "run"
    process = start("train", "cogvideox", recipe, "--run", run)
    wait_for(process, reports_a_few_steps)
    (run / "save").touch()
    wait_for(process, lambda event: event["event"] == "file_saved" and event["kind"] == "lora")
    (run / "stop").touch()
    out, _ = process.communicate()
    assert process.returncode == 0
    assert "stopped after step" in out
    number = len(losses_of(run))
    assert number < STEPS
    assert [path for path in run.glob("*.safetensors") if f"{number:08d}" in path.name], "its weights too"
    assert not (run / "save").exists() and not (run / "stop").exists()
    assert main(["resume", str(run), "--quiet"]) == 0
    assert losses_of(run) == losses_of(whole)
    assert weights_of(run).items() >= weights_of(whole).items()


def test_two_processes_that_are_killed_go_on_together(recipe: Path, tmp_path: Path):
    alone = tmp_path / "alone"
    words = ["train", "cogvideox", str(recipe), "--quiet", "--accumulation", "2"]
    assert main([*words, "--run", str(alone)]) == 0
    run = tmp_path / "run"
    process = subprocess.Popen(
        [*TOGETHER, "-m", "--", "reelwright", "train", "cogvideox", recipe, "--json", "--run", run],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENV,
    )
    wait_for(process, reports_a_few_steps)
    for each in [*psutil.Process(process.pid).children(recursive=True), process]:
        each.kill()
    process.communicate()
    assert 6 <= len(losses_of(run)) < STEPS
    resume = [*TOGETHER, Path(__file__).with_name("process_of_parting.py"), "resume", run, "--quiet"]
    subprocess.run(resume, check=True, env=ENV, cwd=tmp_path, capture_output=True)
    assert losses_of(run) == pytest.approx(losses_of(alone), abs=1e-5)
    left = {path.name: path.read_text() for path in tmp_path.glob("left-*.txt")}
    assert left == {"left-0.txt": "0", "left-1.txt": "0"}, "a network that outlives the group may hang"


def test_a_finished_run_is_prolonged_from_its_state(recipe: Path, tmp_path: Path):
    words = ["train", "cogvideox", str(recipe), "--quiet", "--saving.every-steps", "0"]
    short, longer, whole = (tmp_path / name for name in ("short", "longer", "whole"))
    assert main([*words, "--run", str(short), "--steps", "4"]) == 0
    assert main([*words, "--run", str(longer), "--steps", "8", "--state", str(short), "--seed", "-1"]) == 0
    assert main([*words, "--run", str(whole), "--steps", "8"]) == 0
    assert losses_of(longer) == losses_of(whole)[4:]
    first, second = (weights_of(run)["trained.safetensors"] for run in (longer, whole))
    assert first == second


def test_a_damaged_state_is_told_and_the_one_before_it_is_taken(
    recipe: Path, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    last, before = sorted((run / "states").iterdir(), reverse=True)[:2]
    weights = bytearray((last / "weights.safetensors").read_bytes())
    weights[-5] ^= 1
    (last / "weights.safetensors").write_bytes(weights)
    assert main(["resume", str(run)]) == 0
    told = capsys.readouterr().err
    assert last.name in told and f"going on after step {int(before.name.removeprefix('step-'))}" in told
    assert weights_of(run) == weights_of(whole)
