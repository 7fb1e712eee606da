"""Training where memory ends or numbers go wrong: what is told, what is kept, and that it can go on."""

from pathlib import Path
from typing import Any

import pytest
import torch

from reelwright.cli.main import main
from reelwright.workflows.training import denoising

from .training_data import losses_of, make_data, weights_of

STEPS = 4
_FULL = "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("data"), "cogvideox")


@pytest.fixture
def train(data: Path, capsys: pytest.CaptureFixture[str]):
    """Train a few steps in a folder; the exit code and what was said."""

    def run(folder: Path, *words: object) -> tuple[int, str]:
        line = ["train", "cogvideox", "--dataset", data, "--run", folder, "--steps", STEPS, "--seed", 5]
        capsys.readouterr()
        code = main([str(word) for word in (*line, "--adapter.rank", 2, *words)])
        return code, capsys.readouterr().err

    return run


def failing(function: Any, at: int, error: Exception):
    """The function, but its call of that number, from 1, raises."""
    calls = 0

    def call(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == at:
            raise error
        return function(*arguments, **named)

    return call


def test_memory_that_ends_in_a_batch_keeps_what_was_learned_and_names_the_bucket(
    train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    assert train(tmp_path / "whole")[0] == 0
    with monkeypatch.context() as patch:
        patch.setattr(denoising, "errors_of", failing(denoising.errors_of, 3, RuntimeError(_FULL)))
        code, said = train(tmp_path / "small")
    assert code == 3
    assert "64x64x9" in said and "batch_size" in said and "activation-checkpoint" in said
    assert [path.name for path in (tmp_path / "small" / "states").iterdir()] == ["step-00000002"]
    assert main(["resume", str(tmp_path / "small"), "--quiet"]) == 0
    assert losses_of(tmp_path / "small") == losses_of(tmp_path / "whole")
    assert weights_of(tmp_path / "small") == weights_of(tmp_path / "whole")


def test_memory_that_ends_in_the_optimizer_leaves_the_last_state_as_it_was(
    train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", failing(torch.optim.AdamW.step, 4, RuntimeError(_FULL)))
        code, said = train(tmp_path / "run", "--saving.state-every-steps", 2)
    assert code == 3
    assert "not enough for the optimizer" in said
    assert [path.name for path in (tmp_path / "run" / "states").iterdir()] == ["step-00000002"]


def test_numbers_that_go_wrong_end_the_run_before_they_spoil_the_weights(
    train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    errors_of = denoising.errors_of
    calls: list[int] = []

    def spoiled(*arguments: Any) -> torch.Tensor:
        calls.append(1)
        return errors_of(*arguments) * (float("nan") if len(calls) == 3 else 1.0)

    with monkeypatch.context() as patch:
        patch.setattr(denoising, "errors_of", spoiled)
        code, said = train(tmp_path / "run", "--saving.state-every-steps", 1)
    assert code == 1
    assert "NaN" in said and "step 3" in said and "learning_rate" in said
    names = sorted(path.name for path in (tmp_path / "run" / "states").iterdir())
    assert names == ["step-00000001", "step-00000002"]
    assert main(["resume", str(tmp_path / "run"), "--quiet"]) == 0
