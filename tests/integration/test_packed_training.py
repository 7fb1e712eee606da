"""Images and clips of several sizes packed into sequences: what is learned, killed runs, losses that stay."""

import json
import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from reelwright import families
from reelwright.cli.main import main
from reelwright.core.config import from_mapping
from reelwright.core.errors import ConfigError
from reelwright.core.events import Event, Notice, StepDone
from reelwright.data.loader import Loader
from reelwright.families.cogvideox.config import CogVideoXTrain
from reelwright.families.cogvideox.tiny import TINY_TRANSFORMER, write_model
from reelwright.media.video_writer import write_mp4
from reelwright.workflows import train
from reelwright.workflows.training.denoising import DenoiserTask
from reelwright.workflows.training.finding import find

from .training_data import lines_of, losses_of, weights_of

GOLDEN = Path(__file__).with_suffix(".json")
"""To write it anew: REELWRIGHT_GOLDEN=write; say in the commit which losses changed, by how much and why."""
CLOSE = 2e-4
"""Relative, as in test_golden_losses.py."""
SAME = 1e-5
"""Sums are added in another order, and attention is computed for other lengths at a time."""
NUM_ITEMS, TOKENS = 10, 300
SIZES = {"small": (32, 32, 9, 3), "wide": (48, 32, 17, 2), "image": (48, 48, 1, 5)}
"""Data set -> width, height, frames and how many there are."""


def write_data(folder: Path, model: str) -> Path:
    """A file of three data sets with noise in colors of their own, encoded."""
    text = '[general]\ncaption_extension = ".txt"\n'
    for name, (width, height, frames, count) in SIZES.items():
        place = folder / name
        place.mkdir()
        for number in range(count):
            draw = np.random.default_rng(10 * width + number)
            pixels = draw.integers(0, 255, (frames, height, width, 3), np.uint8)
            if frames > 1:
                write_mp4(place / f"{name}_{number}.mp4", [torch.from_numpy(pixels)], fps=8.0)
            else:
                Image.fromarray(pixels[0]).save(place / f"{name}_{number}.png")
            (place / f"{name}_{number}.txt").write_text(f"{name} noise {number}")
        kind = "video" if frames > 1 else "image"
        text += (
            f'[[datasets]]\n{kind}_directory = "{place}"\ncache_directory = "{folder / "cache" / name}"\n'
            f"resolution = [{width}, {height}]\n" + (f"target_frames = [{frames}]\n" if frames > 1 else "")
        )
    file = folder / "data.toml"
    file.write_text(text)
    for kind in ("latents", "text"):
        assert main(["cache", kind, "cogvideox", "--dataset", str(file), "--model", model, "--quiet"]) == 0
    return file


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A model with random weights, and images and clips of three sizes that are encoded with it."""
    folder = tmp_path_factory.mktemp("packed")
    write_model(folder / "model", seed=1, transformer=TINY_TRANSFORMER)
    model = str(folder / "model")
    return {"model": model, "dataset": str(write_data(folder, model))}


@pytest.fixture
def begin(prepared, tmp_path: Path):
    def start(run: str, **more: Any) -> Generator[Event]:
        return train.run("cogvideox", config_of(prepared, run=str(tmp_path / run), **more))

    return start


def config_of(prepared: dict[str, str], **more: Any) -> CogVideoXTrain:
    mapping = {
        **prepared,
        "packing": {"tokens": TOKENS},
        "seed": 11,
        "method": "full",
        "optimizer": {"learning_rate": 1e-3},
        "saving": {"state_at_end": False, "state_every_steps": 3},
        **more,
    }
    return from_mapping(CogVideoXTrain, mapping, "test")


NOISES: dict[str, dict[str, Any]] = {
    "plain": {},
    "weighted": {"weighting": "min_snr", "caption_dropout": 0.5, "noise_offset": 0.1},
}


@pytest.mark.parametrize("noise", list(NOISES))
def test_packs_come_to_the_losses_and_gradients_of_their_items_one_by_one(noise, prepared):
    config = config_of(prepared, noise=NOISES[noise])
    device = torch.device("cpu")
    with find("cogvideox", config) as found:
        denoiser = found.model.load(device, torch.float32, seed=0).requires_grad_(True)
        task = DenoiserTask(objective=found.model.objective(device, torch.float32))

        def learn(batches: list[Any]) -> tuple[list[float], dict[str, Tensor]]:
            denoiser.zero_grad()
            errors: list[float] = []
            for batch in batches:
                losses = task.losses(denoiser, batch, 1)
                assert losses.errors_B is not None
                errors += losses.errors_B.tolist()
                (losses.total / NUM_ITEMS).backward()
            named = denoiser.named_parameters()
            return errors, {name: weight.grad.clone() for name, weight in named if weight.grad is not None}

        packs = list(Loader(found.data.items, seed=config.seed, packing=found.packing))
        assert any(len({part.group for part in pack.parts}) == 3 for pack in packs)
        errors, gradients = learn(packs)
        errors_alone, gradients_alone = learn([part for pack in packs for part in pack.parts])
    assert len(errors) == NUM_ITEMS
    assert errors == pytest.approx(errors_alone, rel=SAME)
    assert gradients.keys() == gradients_alone.keys()
    for name, gradient in gradients.items():
        assert (gradient - gradients_alone[name]).abs().max() < SAME, name


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_run_in_packs_learns_what_one_of_single_items_does(method, begin, tmp_path):
    for _ in begin("packed", method=method, steps=3, packing={"tokens": 2000}):
        pass
    for _ in begin("single", method=method, steps=3, packing={}, accumulation=NUM_ITEMS):
        pass
    packed, single = lines_of(tmp_path / "packed"), lines_of(tmp_path / "single")
    for name in ("loss", "gradient_norm"):
        assert [line[name] for line in packed] == pytest.approx([line[name] for line in single], rel=SAME)
    assert all(0 < line["padding_waste"] < 1 for line in packed)
    assert not any("padding_waste" in line for line in single)


def test_a_packed_run_that_is_killed_ends_in_the_same_bytes(begin, tmp_path):
    more = {"method": "lora", "steps": 5, "execution": {"activation_checkpoint": True}}
    for _ in begin("whole", **more):
        pass
    events = begin("killed", **more)
    for event in events:
        if isinstance(event, StepDone) and event.stage == "train" and event.step == 4:
            break
    with pytest.raises(SystemError):  # as no one catches it, the state after step 3 is the last one
        events.throw(SystemError())
    for _ in begin("killed", **more):
        pass
    assert losses_of(tmp_path / "killed") == losses_of(tmp_path / "whole")
    assert weights_of(tmp_path / "killed") == weights_of(tmp_path / "whole") != {}


def test_twenty_steps_in_packs_come_to_the_losses_that_they_always_did(begin, tmp_path):
    events = list(begin("run", steps=20))
    losses = losses_of(tmp_path / "run")
    if os.environ.get("REELWRIGHT_GOLDEN") == "write":
        GOLDEN.write_text(json.dumps([round(loss, 7) for loss in losses], indent=1) + "\n")
    assert losses == pytest.approx(json.loads(GOLDEN.read_text()), rel=CLOSE)
    assert len(losses) == 20
    notices = [event.message for event in events if isinstance(event, Notice)]
    assert any("packs of at most 300 tokens" in notice and "3 make an epoch" in notice for notice in notices)


def test_packs_are_refused_that_hold_no_item_and_for_models_that_know_none(begin, tmp_path):
    with pytest.raises(ConfigError, match=r"packing\.tokens: 90 are too few for items of 94 tokens"):
        next(begin("few", packing={"tokens": 90}))
    mapping = {"dataset": str(tmp_path / "none.toml"), "packing": {"tokens": 900}}
    config = from_mapping(families.configs("framepack").TRAIN, mapping, "test")
    with pytest.raises(ConfigError, match="items are not packed"):
        next(train.run("framepack", config))
