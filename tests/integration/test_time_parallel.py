"""Two and three processes, each with a part of a clip, come to what one comes to with the whole."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from reelwright.core.config import from_mapping
from reelwright.core.errors import ConfigError
from reelwright.protocols.autoencoder_train_configs import AutoencoderTrainConfig
from reelwright.workflows import train

from .process_of_time_parallel import FAMILIES, WORLDS, Alone, come_to, kept_bytes, learn, train_run
from .training_data import draw_clips, lines_of

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With clips, and what processes left that shared them."""
    folder = tmp_path_factory.mktemp("shared")
    draw_clips(folder / "clips", 9, fps=8.0, count=2)
    subprocess.run(
        [sys.executable, "-m", "tests.integration.process_of_time_parallel", str(folder)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": ""},
        check=True,
        timeout=600,
    )
    return folder


@pytest.fixture(scope="module")
def shared(folder: Path) -> dict[int, list[dict[str, Any]]]:
    """What each process came to, by the number of processes."""
    return {
        world: [torch.load(folder / f"{world}-{rank}.pt", weights_only=True) for rank in range(world)]
        for world in WORLDS
    }


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def learned_alone(family: str) -> dict[str, Tensor]:
    return learn(family, Alone)


@pytest.mark.parametrize("world", WORLDS)
def test_clips_are_encoded_and_decoded_as_by_one_process(shared, family, world):
    expected = come_to(family, Alone)
    for found in shared[world]:
        # In float32, of values up to 3.3, through a decoder of random weights.
        assert _difference(found[family]["values"], expected) < 4e-5


@pytest.mark.parametrize("world", WORLDS)
def test_a_training_step_has_the_loss_and_gradients_of_one_process(shared, family, world, learned_alone):
    assert max(float(tensor.abs().max()) for tensor in learned_alone.values()) > 1e-2
    for found in shared[world]:
        assert _difference(found[family]["learned"], learned_alone) < 1e-12


def test_without_gradients_of_what_was_sent_weights_would_learn_otherwise(shared, family, learned_alone):
    truncated = shared[2][0][family]["truncated"]
    torch.testing.assert_close(truncated["loss"], learned_alone["loss"])
    assert _difference(truncated, learned_alone) > 1e-4


def test_two_processes_keep_half_for_the_backward_pass(shared, family):
    whole = float(kept_bytes(family, Alone))
    for found in shared[2]:
        assert 0.4 < float(found[family]["kept"]) / whole < 0.58


def test_lengths_that_do_not_divide_are_refused_with_the_nearest_that_do(shared):
    for found in shared[2]:
        said = found["refusals"]
        assert "A clip of 1 frames cannot be shared out to 2 processes" in said["1"]
        assert "Nearest: 9 frames" in said["1"]
        assert "it needs a multiple of 8, at least 8, and one. Nearest: 25 frames" in said["23"]
        assert said.keys() == {"1", "23", "13", "parts"}, "9 frames are enough"


def test_three_processes_need_two_latent_frames_each_for_what_the_next_one_asks(shared):
    for found in shared[3]:
        assert "at least 24, and one. Nearest: 25 frames" in found["refusals"]["13"]


@pytest.mark.parametrize("world", WORLDS)
def test_processes_must_be_a_multiple_of_parts(shared, world):
    for found in shared[world]:
        assert f"there are {world} in all" in found["refusals"]["parts"]


def test_a_run_whose_clips_are_shared_learns_what_one_process_learns(folder, tmp_path):
    shared, alone = folder / "run", tmp_path / "alone"
    train_run(folder / "clips", alone)
    for found, expected in zip(lines_of(shared), lines_of(alone), strict=True):
        for name in ("loss", "gradient_norm", "kl", "l1", "adaptive_weight", "discriminator"):
            # The ratio of two gradients in float32, which differ a thousandfold.
            assert found[name] == pytest.approx(expected[name], rel=1e-4)
    weights = Path("trained", "diffusion_pytorch_model.safetensors")
    assert _difference(load_file(shared / weights), load_file(alone / weights)) < 1e-5


def test_runs_refuse_what_cannot_be_shared_before_anything_is_read(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    mapping = {"execution": {"time_parallel": 2}, "stages": [{"frames": 5}], "run": str(tmp_path / "run")}
    config = from_mapping(AutoencoderTrainConfig, mapping, "test")
    with pytest.raises(ConfigError, match=r"stages\.0\.frames: A clip of 5 frames .* Nearest: 9 frames"):
        list(train.run("framepack", config))
    monkeypatch.setenv("WORLD_SIZE", "1")
    with pytest.raises(ConfigError, match="2 processes share each clip, but there are 1"):
        list(train.run("framepack", config))
    assert not (tmp_path / "run").exists()


def _difference(found: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    assert found.keys() == expected.keys()
    return max(float((found[name] - expected[name]).abs().max()) for name in expected)
