"""The losses of twenty steps stay what they are, for each family and method, whatever is refactored."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from reelwright import families
from reelwright.core.config import from_mapping
from reelwright.families.cogvideox import tiny as cogvideox_tiny
from reelwright.families.framepack import tiny as framepack_tiny
from reelwright.workflows import train

from .training_data import losses_of, make_data

GOLDEN = Path(__file__).with_suffix(".json")
"""To write it anew: REELWRIGHT_GOLDEN=write; say in the commit which losses changed, by how much and why."""
WRITERS = {"cogvideox": cogvideox_tiny.write_model, "framepack": framepack_tiny.write_model}
CASES: dict[str, dict[str, Any]] = {
    "lora": {"adapter": {"rank": 4}},
    "loha": {"method": "loha", "adapter": {"rank": 2}},
    "lokr": {"method": "lokr", "adapter": {"rank": 2}},
    "full": {"method": "full"},
}
CLOSE = 2e-4
"""Relative: processors add in other orders, and twenty steps of training let such differences grow."""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """Family -> a model with random weights of its own, and clips encoded with it."""
    found: dict[str, dict[str, str]] = {}
    for family, write in WRITERS.items():
        folder = tmp_path_factory.mktemp(family)
        write(folder / "model", seed=1)
        model = str(folder / "model")
        found[family] = {"model": model, "dataset": str(make_data(folder, family, model=model))}
    return found


@pytest.mark.parametrize("method", list(CASES))
@pytest.mark.parametrize("family", list(WRITERS))
def test_twenty_steps_come_to_the_losses_that_they_always_did(family, method, prepared, tmp_path):
    mapping = {
        **prepared[family],
        "run": str(tmp_path / "run"),
        "steps": 20,
        "seed": 11,
        "optimizer": {"learning_rate": 1e-3},
        "saving": {"state_at_end": False, "state_every_steps": 0},
        **CASES[method],
    }
    config = from_mapping(families.configs(family).TRAIN, mapping, "test")
    for _ in train.run(family, config):
        pass
    losses = losses_of(tmp_path / "run")
    known = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    if os.environ.get("REELWRIGHT_GOLDEN") == "write":
        known[f"{family} {method}"] = [round(loss, 7) for loss in losses]
        GOLDEN.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
    assert losses == pytest.approx(known[f"{family} {method}"], rel=CLOSE)
    assert len(losses) == 20
