"""Two processes learn what one learns from the same items, with whole denoisers or with shares of them."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from .process_of_training import VARIANTS, Variant, train

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder where two processes left what they came to, in all variants."""
    folder = tmp_path_factory.mktemp("trained")
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    subprocess.run(
        [sys.executable, *command, "-m", "tests.integration.process_of_training", str(folder)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": ""},
        check=True,
        timeout=120,
    )
    return folder


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[Variant, dict[str, Any]]:
    """What one process comes to in each variant, without stopping."""
    folder = tmp_path_factory.mktemp("alone")
    return {variant: train(variant, folder) for variant in VARIANTS}


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_two_processes_learn_what_one_learns(
    trained: Path, alone: dict[Variant, dict[str, Any]], kind: str, variant: Variant
) -> None:
    found, expected = torch.load(trained / f"{kind}-{variant}.pt", weights_only=True), alone[variant]
    assert expected["kind"] == "NO"
    assert found["kind"] == {"ddp": "MULTI_CPU", "fsdp": "FSDP"}[kind]
    assert found["losses"] == pytest.approx(expected["losses"], abs=1e-5)
    assert _difference(found["weights"], expected["weights"]) < 1e-5


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_every_block_is_shared_out_by_itself(trained: Path, variant: Variant) -> None:
    found = torch.load(trained / f"fsdp-{variant}.pt", weights_only=True)
    assert found["units"] == {"cogvideox": 2, "framepack": 4}[variant.family]
    assert torch.load(trained / f"ddp-{variant}.pt", weights_only=True)["units"] == 0


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_an_optimizers_state_is_the_same_from_any_number_of_processes(
    trained: Path, alone: dict[Variant, dict[str, Any]], variant: Variant
) -> None:
    expected = alone[variant]["state"]
    for kind in ("ddp", "fsdp"):
        state = torch.load(trained / f"{kind}-{variant}.pt", weights_only=True)["state"]
        assert state["param_groups"] == expected["param_groups"]
        assert state["state"].keys() == expected["state"].keys()
        for index, entries in expected["state"].items():
            assert _difference(state["state"][index], entries) < 1e-5


def _difference(found: Mapping[str, Tensor], expected: Mapping[str, Any]) -> float:
    assert found.keys() == expected.keys()
    assert all(type(tensor) is Tensor for tensor in found.values())
    return max(float((found[name] - expected[name]).abs().max()) for name in expected)
