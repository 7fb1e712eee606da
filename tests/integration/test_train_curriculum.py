"""A training in stages: each goes on from the weights of the one before, and nothing is lost between."""

import json
import random
import shutil
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from reelwright import families
from reelwright.cli.main import main
from reelwright.core.config import from_mapping
from reelwright.core.errors import UserError
from reelwright.core.events import Event
from reelwright.workflows import train
from reelwright.workflows.training.finding import find

from .test_train_resume import Killed, advance
from .training_data import lines_of, losses_of, make_data, weights_of

SCORES = (0.5, 0.9, 0.1, 0.7)
"""Of the clips, by number."""
CASES: dict[str, tuple[str, list[dict[str, Any]], dict[str, Any]]] = {
    "cogvideox-kept": (
        "cogvideox",
        [
            {"name": "small", "dataset": "small", "steps": 3, "batch_size": 2, "learning_rate": 1e-3},
            {"name": "best", "steps": 3, "best": 0.5, "schedule": "linear", "positions": "extrapolated"},
        ],
        {"adapter": {"rank": 4, "dropout": 0.2}, "schedule": {"name": "cosine", "warmup": 1}},
    ),
    "cogvideox-reset": (
        "cogvideox",
        [
            {"dataset": "small", "steps": 2, "accumulation": 2},
            {"steps": 2, "optimizer": "reset"},
            {"steps": 2, "size": "64x64", "num_frames": 9, "min_score": 0.6, "positions": "extrapolated"},
        ],
        {"method": "full", "ema": {"decay": 0.9}},
    ),
    "framepack-schedule-free": (
        "framepack",
        [{"steps": 3}, {"steps": 3, "best": 0.25, "learning_rate": 1e-3, "optimizer": "reset"}],
        {"optimizer": {"name": "adamw_schedulefree"}, "adapter": {"rank": 4}},
    ),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Family -> its file of data sets, encoded, with scores; beside one, small.toml of half the size."""
    files: dict[str, Path] = {}
    for family in ("cogvideox", "framepack"):
        folder = tmp_path_factory.mktemp(family)
        files[family] = make_data(folder, family)
        for number, score in enumerate(SCORES):
            (folder / "clips" / f"clip_{number}.score").write_text(str(score))
    folder = files["cogvideox"].parent
    text = files["cogvideox"].read_text()
    (folder / "small.toml").write_text(text.replace("[64, 64]", "[32, 32]").replace("/cache", "/small"))
    for kind in ("latents", "text"):
        assert main(["cache", kind, "cogvideox", "--dataset", str(folder / "small.toml"), "--quiet"]) == 0
    return files


@pytest.fixture
def start(data, tmp_path: Path):
    """Begin a run, or go on with one: the events as they come."""

    def begin(case: str, run: str, **more: Any) -> Generator[Event]:
        family, stages, said = CASES[case]
        stages = [dict(stage) for stage in more.pop("curriculum", stages)]
        for stage in stages:
            if stage.get("dataset") == "small":
                stage["dataset"] = str(data[family].with_name("small.toml"))
        mapping = {
            "dataset": str(data[family]),
            "run": str(tmp_path / run),
            "seed": 5,
            "curriculum": stages,
            "saving": {"state_every_steps": 2, "every_epochs": 1, "keep_states": 9},
            **said,
            **more,
        }
        return train.run(family, from_mapping(families.configs(family).TRAIN, mapping, "test"))

    return begin


def kill(events: Generator[Event], run: Path) -> None:
    """As a signal that no process survives: what is written on the way out never was."""
    before = set((run / "states").glob("*"))
    with pytest.raises(Killed):
        events.throw(Killed())
    for state in set((run / "states").glob("*")) - before:
        shutil.rmtree(state)


@pytest.mark.parametrize("case", sorted(CASES))
def test_a_run_killed_around_the_borders_ends_as_one_that_is_not(case, start, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for _ in start(case, "whole"):
        pass
    border = CASES[case][1][0]["steps"]
    for step in (border, random.Random(case).randrange(border + 1, 7)):
        events = start(case, "killed")
        advance(events, step)
        kill(events, killed)
    assert main(["resume", str(killed), "--quiet"]) == 0
    assert len(losses_of(whole)) == 6
    assert losses_of(killed) == losses_of(whole)
    assert weights_of(killed) == weights_of(whole) != {}
    stages = CASES[case][1]
    names = [
        stage.get("name", str(number))
        for number, stage in enumerate(stages, 1)
        for _ in range(stage["steps"])
    ]
    assert [line["stage"] for line in lines_of(killed) if "loss" in line] == names
    if case == "cogvideox-reset":
        settings = json.loads((whole / "trained" / "config.json").read_text())
        assert settings["rope_grid"] == "integer"


def test_held_out_losses_and_samples_go_on_over_the_borders_of_a_killed_run(start, data, tmp_path):
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a ball --w 32 --h 32 --f 1 --s 2\n")
    more = {
        "validation": {"dataset": str(data["cogvideox"]), "every_steps": 2, "num_items": 2},
        "samples": {"prompts": str(prompts), "every_steps": 3, "at_start": False},
    }
    border = CASES["cogvideox-kept"][1][0]["steps"]
    for run in ("whole", "killed"):
        events = start("cogvideox-kept", run, **more)
        if run == "whole":
            list(events)
        else:
            advance(events, border)
            kill(events, tmp_path / run)
    assert main(["resume", str(tmp_path / "killed"), "--quiet"]) == 0
    measured = {
        run: [line for line in lines_of(tmp_path / run) if "validation_loss" in line]
        for run in ("whole", "killed")
    }
    assert [line["step"] for line in measured["whole"]] == [0, 2, 4, 6]
    assert measured["killed"] == measured["whole"]
    pictures = {
        run: {path.name: path.read_bytes() for path in (tmp_path / run / "samples").rglob("*.png")}
        for run in ("whole", "killed")
    }
    assert pictures["killed"] == pictures["whole"] != {}


def test_stages_that_forget_equal_runs_that_start_from_each_others_weights(start, tmp_path):
    case, rank = "cogvideox-kept", {"adapter": {"rank": 4}}
    first, second = {"dataset": "small", "steps": 2}, {"steps": 2, "optimizer": "reset"}
    list(start(case, "stages", curriculum=[first, second], **rank))
    list(start(case, "first", curriculum=[first], **rank))
    weights = str(tmp_path / "first" / "trained.safetensors")
    list(start(case, "second", curriculum=[], steps=2, seed=6, adapter={"rank": 4, "weights": weights}))
    chained = losses_of(tmp_path / "first") + losses_of(tmp_path / "second")
    assert losses_of(tmp_path / "stages") == chained
    one, other = (load_file(tmp_path / run / "trained.safetensors") for run in ("stages", "second"))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    ("stage", "clips"),
    [
        ({"best": 0.25}, {1}),
        ({"best": 0.5}, {1, 3}),
        ({"min_score": 0.5}, {0, 1, 3}),
        ({"best": 0.5, "min_score": 0.8}, {1}),
        ({"size": "64x64"}, {0, 1, 2, 3}),
    ],
    ids=("quarter", "half", "threshold", "both", "size"),
)
def test_a_stage_learns_from_the_clips_it_asks_for_alone(stage, clips, data):
    with find("cogvideox", _config(data, [{"steps": 1}, {"steps": 1, "batch_size": 3, **stage}])) as found:
        all_items, chosen = (each.data.items for each in found.stages)
        assert all_items.num_items == 4
        read = [chosen.read(file, 0, seed=0, epoch=0).name for file in range(chosen.num_items)]
        assert set(chosen.supply.batch_sizes) == {3}
    assert {int(Path(name).name.split("_")[1]) for name in read} == clips
    assert len(read) == len(clips)


@pytest.mark.parametrize(
    ("stages", "more", "said"),
    [
        ([{"min_score": 2.0}], {}, r"curriculum\.0\.min_score: 2 is above all scores, .* 0\.9"),
        ([{"size": "128x64"}], {}, r"curriculum\.0\.size: there are no items of 128x64.*64x64x9"),
        ([{"size": "128"}], {}, r"'128' is no size"),
        ([{"dataset": "absent.toml"}], {}, "absent.toml"),
        ([{}, {"best": 0.5, "dataset": "small"}], {}, "1 of 4 have no score: clip_2"),
        ([{"warmup": 5}], {}, "warm-up and decay take 5 steps"),
        ([{}], {"steps": 7}, "steps: is 7, and the stages of the curriculum have 2"),
        ([{}], {"epochs": 2}, "stages of a curriculum count steps"),
    ],
    ids=("score", "size", "no-size", "dataset", "unscored", "warmup", "steps", "epochs"),
)
def test_what_a_stage_cannot_have_is_told_before_anything_loads(stages, more, said, data, tmp_path):
    if "dataset" in stages[-1] and stages[-1]["dataset"] == "small":
        (data["cogvideox"].parent / "clips" / "clip_2.score").rename(tmp_path / "kept")
    try:
        with pytest.raises(UserError, match=said):
            list(train.run("cogvideox", _config(data, [{"steps": 2, **stage} for stage in stages], **more)))
    finally:
        if (tmp_path / "kept").exists():
            (tmp_path / "kept").rename(data["cogvideox"].parent / "clips" / "clip_2.score")


def _config(data: dict[str, Path], stages: list[dict[str, Any]], **more: Any) -> Any:
    file = data["cogvideox"]
    small = [
        {**each, "dataset": str(file.with_name("small.toml"))} if each.get("dataset") == "small" else each
        for each in stages
    ]
    mapping = {"dataset": str(file), "seed": 1, "run": str(file.parent / "run"), "curriculum": small, **more}
    return from_mapping(families.configs("cogvideox").TRAIN, mapping, "test")
