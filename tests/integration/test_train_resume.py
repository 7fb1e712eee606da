"""Nothing is lost: a run that was broken off anywhere ends in the bytes of one that never was."""

import random
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from reelwright import families
from reelwright.core.config import from_mapping
from reelwright.core.events import Event, Notice, StepDone
from reelwright.workflows import train

from .training_data import losses_of, make_data, weights_of

STEPS = 6
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "cogvideox-lora": ("cogvideox", {"adapter": {"rank": 4, "dropout": 0.2}}),
    "cogvideox-full": ("cogvideox", {"method": "full", "ema": {"decay": 0.9}}),
    "cogvideox-accumulated": ("cogvideox", {"accumulation": 3, "schedule": {"name": "cosine", "warmup": 2}}),
    "framepack-lora": ("framepack", {"adapter": {"rank": 4}}),
    "framepack-lokr": ("framepack", {"method": "lokr", "adapter": {"rank": 2}, "accumulation": 2}),
    "framepack-schedule-free": (
        "framepack",
        {"optimizer": {"name": "adamw_schedulefree"}, "adapter": {"rank": 4}},
    ),
}


class Killed(Exception):  # noqa: N818 - what the operating system does, not an error
    """Stands for the end of the process: no one catches it."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Family -> its file of data sets, encoded."""
    return {
        family: make_data(tmp_path_factory.mktemp(family), family) for family in ("cogvideox", "framepack")
    }


@pytest.fixture
def start(data, tmp_path: Path):
    """Begin a run, or go on with one: the events as they come."""

    def begin(case: str, run: str, **more: Any) -> Generator[Event]:
        family, said = CASES[case]
        mapping = {
            "dataset": str(data[family]),
            "run": str(tmp_path / run),
            "steps": STEPS,
            "seed": 5,
            "saving": {"state_every_steps": 2, "every_steps": 3},
            **said,
            **more,
        }
        return train.run(family, from_mapping(families.configs(family).TRAIN, mapping, "test"))

    return begin


def advance(events: Generator[Event], step: int) -> None:
    """Go on until a step is done."""
    for event in events:
        if isinstance(event, StepDone) and event.stage == "train" and event.step == step:
            return
    raise AssertionError(f"it ended before step {step}")


@pytest.mark.parametrize("case", sorted(CASES))
def test_a_run_that_is_killed_again_and_again_ends_as_one_that_is_not(case, start, tmp_path):
    for _ in start(case, "whole"):
        pass
    draw = random.Random(case)
    for step in sorted(draw.sample(range(1, STEPS + 1), 2)):
        events = start(case, "killed")
        advance(events, step)
        with pytest.raises(Killed):
            events.throw(Killed())
    for _ in start(case, "killed"):
        pass
    assert losses_of(tmp_path / "killed") == losses_of(tmp_path / "whole")
    assert len(losses_of(tmp_path / "whole")) == STEPS
    assert weights_of(tmp_path / "killed") == weights_of(tmp_path / "whole") != {}


@pytest.mark.parametrize("case", ["cogvideox-lora", "framepack-schedule-free"])
def test_a_run_that_is_told_to_stop_keeps_its_last_step(case, start, tmp_path):
    for _ in start(case, "whole"):
        pass
    events = start(case, "stopped")
    advance(events, 5)
    events.close()
    rest = list(start(case, "stopped"))
    assert [event.step for event in rest if isinstance(event, StepDone) and event.stage == "train"] == [6]
    assert any("going on after step 5" in event.message for event in rest if isinstance(event, Notice))
    assert losses_of(tmp_path / "stopped") == losses_of(tmp_path / "whole")
    assert weights_of(tmp_path / "stopped") == weights_of(tmp_path / "whole")
