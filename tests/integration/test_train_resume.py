"""Nothing is lost: a run that was broken off anywhere ends in the bytes of one that never was."""

import random
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import reelwright
from reelwright import families
from reelwright.core.config import from_mapping
from reelwright.core.errors import UserError
from reelwright.core.events import Event, Notice, StepDone
from reelwright.workflows import train

from .training_data import lines_of, losses_of, make_data, weights_of

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


@pytest.fixture
def finished(start, tmp_path: Path) -> Path:
    """The folder of a run that went to its end."""
    list(start("cogvideox-lora", "finished"))
    return tmp_path / "finished"


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


def test_a_finished_run_says_that_nothing_is_left_and_writes_nothing(start, tmp_path):
    for _ in start("cogvideox-lora", "done"):
        pass
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "done" / "states").rglob("*")}
    events = list(start("cogvideox-lora", "done"))
    assert any(
        "nothing left to do: all 6 steps" in event.message for event in events if isinstance(event, Notice)
    )
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "done" / "states").rglob("*")} == before


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"optimizer": {"name": "lion"}}, r"optimizer\.name: the state is of a training with AdamW"),
        ({"optimizer": {"arguments": ["weight_decay=0.9"]}}, r"optimizer\.arguments: .* with none"),
        ({"schedule": {"path": "torch.optim.lr_scheduler.StepLR", "arguments": ["step_size=1"]}}, "StepLR"),
        ({"adapter": {"rank": 2, "dropout": 0.2}}, r"down: is \[2, \d+\], the values are \[4, \d+\]"),
        ({"steps": STEPS}, "is a state after step 6. Give more"),
        ({"seed": 6}, "Resume with seed 5"),
    ],
    ids=("optimizer", "arguments", "schedule", "rank", "steps", "seed"),
)
def test_what_a_state_cannot_go_on_with_is_refused_by_name(changed, said, finished, start):
    more = {"steps": 8, "state": str(finished), **changed}
    with pytest.raises(UserError, match=said):
        list(start("cogvideox-lora", "next", **more))


def test_a_learning_rate_and_a_schedule_that_were_changed_hold_from_the_state_on(finished, start, tmp_path):
    rated = {"optimizer": {"learning_rate": 0.05}, "schedule": {"name": "linear"}}
    list(start("cogvideox-lora", "next", steps=8, state=str(finished), **rated))
    rates = [line["rates"]["adapter"] for line in lines_of(tmp_path / "next") if "rates" in line]
    assert rates == pytest.approx([0.05 * 2 / 8, 0.05 * 1 / 8])


def test_an_average_that_was_not_kept_begins_at_the_state(finished, start, tmp_path):
    """Before the first update it is what the state holds, not what training began with."""
    waits = {"ema": {"decay": 0.9, "every": 100}}
    list(start("cogvideox-lora", "next", steps=8, state=str(finished), **waits))
    assert weights_of(tmp_path / "next")["trained-ema.safetensors"] != {}
    (average,) = (load_file(path) for path in (tmp_path / "next").glob("trained-ema.safetensors"))
    state = load_file(finished / "trained.safetensors")
    assert all(torch.equal(average[name], state[name]) for name in state)


def test_epochs_are_counted_from_the_state_where_steps_are_of_another_size(finished, start, tmp_path):
    """Six steps are an epoch and a half of four clips; the other half and one more are three steps of two."""
    list(start("cogvideox-lora", "next", epochs=3, accumulation=2, state=str(finished)))
    steps = [(line["step"], line["epoch"]) for line in lines_of(tmp_path / "next") if "loss" in line]
    assert steps == [(7, 2), (8, 2), (9, 3)]


@pytest.mark.parametrize(
    ("settings", "name", "used_as"),
    [
        ({"adapter": {"rank": 4}}, "fox.safetensors", "lora"),
        ({"saving": {"layout": "peft"}}, "fox", "lora"),
        ({"method": "full"}, "fox", "dit"),
    ],
    ids=("lora", "peft", "full"),
)
def test_python_is_told_where_the_weights_are_and_can_use_them(settings, name, used_as, data, tmp_path):
    trained = reelwright.train(
        "cogvideox", dataset=data["cogvideox"], run=tmp_path / "run", name="fox", steps=2, seed=1, **settings
    )
    assert trained == reelwright.Trained(tmp_path / "run", tmp_path / "run" / name)
    small = {"steps": 1, "num_frames": 9, "height": 64, "width": 64, "prompt": "a fox", "out": tmp_path}
    used = trained.weights if used_as == "dit" else [trained.weights]
    (clip,) = reelwright.generate("cogvideox", format="latent", **small, **{used_as: used})
    assert clip.latent.exists()
