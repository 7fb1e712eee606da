"""Text encoders that learn captions: what they are saved as, losses that stay, and runs that go on."""

import json
import os
import shutil
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from reelwright import families
from reelwright.core.config import from_mapping
from reelwright.core.errors import UserError
from reelwright.core.events import Event, StepDone
from reelwright.data.synthetic.simple_captions import simple_captions
from reelwright.families.cogvideox import tiny as cogvideox_tiny
from reelwright.families.framepack import tiny as framepack_tiny
from reelwright.workflows import train

from .training_data import lines_of, losses_of

GOLDEN = Path(__file__).with_suffix(".json")
"""To write it anew: REELWRIGHT_GOLDEN=write; say in the commit which losses changed, by how much and why."""
CLOSE = 2e-4
"""Relative, as in test_golden_losses.py."""
WRITERS = {"cogvideox": cogvideox_tiny.write_model, "framepack": framepack_tiny.write_model}
FOLDERS = {"cogvideox": ["text_encoder"], "framepack": ["text_encoder", "text_encoder_2"]}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Family -> a model with random weights; captions in a file beside it."""
    found: dict[str, Path] = {}
    for family, write in WRITERS.items():
        found[family] = tmp_path_factory.mktemp(family) / "model"
        write(found[family], seed=1)
        captions = list(simple_captions())
        found[family].with_name("captions.txt").write_text("\n".join(captions[:: len(captions) // 40]))
    return found


@pytest.fixture
def begin(models, tmp_path: Path):
    def start(family: str, run: str, **more: Any) -> Generator[Event]:
        mapping = {
            "stage": "encoders",
            "model": str(models[family]),
            "captions": str(models[family].with_name("captions.txt")),
            "run": str(tmp_path / run),
            "steps": 20,
            "batch_size": 4,
            "seed": 11,
            "optimizer": {"learning_rate": 3e-3},
            "saving": {"state_every_steps": 3},
            **more,
        }
        return train.run(family, from_mapping(families.configs(family).TRAIN_ENCODERS, mapping, "test"))

    return start


def saved(run: Path) -> dict[str, bytes]:
    files = (run / "trained").rglob("*.safetensors")
    return {str(path.relative_to(run)): path.read_bytes() for path in files}


@pytest.mark.parametrize("family", list(WRITERS))
def test_twenty_steps_come_to_the_losses_that_they_always_did(family, begin, tmp_path):
    for _ in begin(family, "run", init="random"):
        pass
    losses = losses_of(tmp_path / "run")
    known = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    if os.environ.get("REELWRIGHT_GOLDEN") == "write":
        known[family] = [round(loss, 7) for loss in losses]
        GOLDEN.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
    assert losses == pytest.approx(known[family], rel=CLOSE)
    assert sum(losses[-4:]) < 0.9 * sum(losses[:4])
    assert sorted({Path(name).parts[1] for name in saved(tmp_path / "run")}) == FOLDERS[family]
    told = lines_of(tmp_path / "run")[-1]
    assert sum(told[name] for name in FOLDERS[family]) == pytest.approx(told["loss"])


def test_a_run_that_is_killed_ends_in_the_same_bytes(begin, tmp_path):
    for _ in begin("cogvideox", "whole", steps=8):
        pass
    events = begin("cogvideox", "killed", steps=8)
    for event in events:
        if isinstance(event, StepDone) and event.stage == "train" and event.step == 5:
            break
    with pytest.raises(SystemError):  # as no one catches it, the state after step 3 is the last one
        events.throw(SystemError())
    for _ in begin("cogvideox", "killed", steps=8):
        pass
    assert losses_of(tmp_path / "killed") == losses_of(tmp_path / "whole")
    assert saved(tmp_path / "killed") == saved(tmp_path / "whole") != {}


def test_saved_encoders_take_the_place_of_the_models_own(begin, models, reelwright, tmp_path):
    """From the settings of encoders alone, trained on the captions of a data set, then used."""
    model = tmp_path / "model"
    shutil.copytree(models["framepack"], model)
    for folder in FOLDERS["framepack"]:
        (model / folder / "model.safetensors").unlink()
    clips = ("--width", 64, "--height", 64, "--num-frames", 5, "--count", 3, "--seed", 1)
    assert reelwright("dataset", "synth", tmp_path / "clips", *clips).code == 0
    words = ("--stage", "encoders", "--model", model, "--dataset", tmp_path / "clips", "--init", "random")
    line = ("train", "framepack", *words, "--steps", 2, "--batch-size", 2, "--run", tmp_path / "run")
    trained = reelwright(*line, "--seed", 1)
    assert trained.code == 0, trained.err
    shutil.copytree(tmp_path / "run" / "trained", model, dirs_exist_ok=True)
    prompt = ("--prompt", "a red circle", "--height", 64, "--width", 64, "--steps", 1, "--video-sections", 1)
    made = reelwright("generate", "framepack", "--model", model, *prompt, "--latent-window-size", 2)
    assert made.code == 0, made.err


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"captions": None}, "^dataset: is missing"),
        ({"captions": "nowhere.txt"}, r"^nowhere\.txt: cannot be read"),
        ({"saving": {"author": "me"}}, r"^saving\.author: is for adapters"),
        ({"execution": {"dtype": "bfloat16"}}, r"^execution\.dtype: weights of encoders"),
    ],
    ids=("nothing", "no file", "no effect", "format"),
)
def test_what_cannot_be_followed_is_told_before_anything_is_made(changed, said, begin, tmp_path):
    more = {key: value for key, value in changed.items() if value is not None}
    with pytest.raises(UserError, match=said):
        list(begin("cogvideox", "refused", **({"captions": None} | more if "captions" in changed else more)))
    assert not (tmp_path / "refused").exists()
