"""Training on sections that items draw for themselves: losses that stay, and runs that go on."""

import json
import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from reelwright.core.config import from_mapping
from reelwright.core.events import Event, StepDone
from reelwright.families.framepack.config import FramePackTrain
from reelwright.families.framepack.tiny import write_model
from reelwright.workflows import train

from .training_data import losses_of, make_data, weights_of

GOLDEN = Path(__file__).with_suffix(".json")
"""To write it anew: REELWRIGHT_GOLDEN=write; say in the commit which losses changed, by how much and why."""
CLOSE = 2e-4
"""Relative, as in test_golden_losses.py."""
DRAWN: dict[str, Any] = {
    "mode": "drawn",
    "sections": {"base": 1.0, "f1": 1.0},
    "noise": {"history_noise": 0.3},
}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A model with random weights that may learn both directions, and whole clips encoded with it."""
    folder = tmp_path_factory.mktemp("drawn")
    write_model(folder / "model", seed=1, direction="both")
    model = str(folder / "model")
    words = ("--form", "compact", "--posterior", "moments")
    return {"model": model, "dataset": str(make_data(folder, "framepack", model=model, words=words))}


@pytest.fixture
def begin(prepared, tmp_path: Path):
    def start(run: str, **more: Any) -> Generator[Event]:
        mapping = {
            **prepared,
            **DRAWN,
            "run": str(tmp_path / run),
            "steps": 20,
            "seed": 11,
            "method": "full",
            "optimizer": {"learning_rate": 1e-3},
            "saving": {"state_at_end": False, "state_every_steps": 3},
            **more,
        }
        return train.run("framepack", from_mapping(FramePackTrain, mapping, "test"))

    return start


def test_twenty_steps_on_drawn_sections_come_to_the_losses_that_they_always_did(begin, tmp_path):
    for _ in begin("run"):
        pass
    losses = losses_of(tmp_path / "run")
    if os.environ.get("REELWRIGHT_GOLDEN") == "write":
        GOLDEN.write_text(json.dumps([round(loss, 7) for loss in losses], indent=1) + "\n")
    assert losses == pytest.approx(json.loads(GOLDEN.read_text()), rel=CLOSE)
    assert len(losses) == 20


def test_a_run_on_drawn_sections_that_is_killed_ends_in_the_same_bytes(begin, tmp_path):
    for _ in begin("whole", steps=8):
        pass
    events = begin("killed", steps=8)
    for event in events:
        if isinstance(event, StepDone) and event.stage == "train" and event.step == 5:
            break
    with pytest.raises(SystemError):  # as no one catches it, the state after step 3 is the last one
        events.throw(SystemError())
    for _ in begin("killed", steps=8):
        pass
    assert losses_of(tmp_path / "killed") == losses_of(tmp_path / "whole")
    assert weights_of(tmp_path / "killed") == weights_of(tmp_path / "whole") != {}
