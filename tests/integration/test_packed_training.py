"""Images and clips of several sizes packed into sequences: what is learned, killed runs, losses that stay."""

import json
import os
from collections.abc import Generator
from dataclasses import dataclass, field
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
from reelwright.families.cogvideox.tiny import TINY_TRANSFORMER
from reelwright.families.cogvideox.tiny import write_model as write_cogvideox
from reelwright.families.framepack.tiny import write_model as write_framepack
from reelwright.media.video_writer import write_mp4
from reelwright.protocols.train_configs import TrainConfig
from reelwright.workflows import train
from reelwright.workflows.training.denoising import DenoiserTask
from reelwright.workflows.training.finding import find

from .training_data import RATES, lines_of, losses_of, weights_of

GOLDEN = Path(__file__).with_suffix(".json")
"""To write it anew: REELWRIGHT_GOLDEN=write; say in the commit which losses changed, by how much and why."""
CLOSE = 2e-4
"""Relative, as in test_golden_losses.py."""
SAME = 1e-5
"""Sums are added in another order, and attention is computed for other lengths at a time."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What is packed of a family."""

    sizes: dict[str, tuple[int, int, int, int]]
    """Data set -> width, height, frames and how many there are."""
    num_items: int
    tokens: int
    num_packs: int
    words: tuple[str, ...] = ()
    """More of the command that encodes latents."""
    dataset: str = ""
    """More lines of each data set."""
    settings: dict[str, Any] = field(default_factory=dict[str, Any])
    """More of the configuration."""
    noises: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])


SUBJECTS = {
    "cogvideox": Subject(
        sizes={"small": (32, 32, 9, 3), "wide": (48, 32, 17, 2), "image": (48, 48, 1, 5)},
        num_items=10,
        tokens=300,
        num_packs=3,
        noises={
            "plain": {},
            "weighted": {"weighting": "min_snr", "caption_dropout": 0.5, "noise_offset": 0.1},
        },
    ),
    # Of each clip two sections, and its first frame and the last of each section as pictures.
    "framepack": Subject(
        sizes={"small": (32, 32, 21, 2), "wide": (64, 48, 21, 1)},
        num_items=15,
        tokens=3000,
        num_packs=4,
        words=("--form", "compact", "--posterior", "moments", "--pictures"),
        dataset="fp_latent_window_size = 2\n",
        settings={"mode": "drawn", "sections": {"base": 1.0, "f1": 1.0}},
        noises={"plain": {}, "weighted": {"weighting": "sigma_sqrt", "history_noise": 0.3}},
    ),
}
METHODS = ("full", "lora")
NOISES = [(family, noise) for family, subject in SUBJECTS.items() for noise in subject.noises]


def write_data(folder: Path, family: str, model: str) -> Path:
    """A file of data sets with noise in colors of their own, encoded."""
    text = '[general]\ncaption_extension = ".txt"\n'
    subject = SUBJECTS[family]
    for name, (width, height, frames, count) in subject.sizes.items():
        place = folder / name
        place.mkdir()
        for number in range(count):
            draw = np.random.default_rng(10 * width + number)
            pixels = draw.integers(0, 255, (frames, height, width, 3), np.uint8)
            if frames > 1:
                write_mp4(place / f"{name}_{number}.mp4", [torch.from_numpy(pixels)], fps=RATES[family])
            else:
                Image.fromarray(pixels[0]).save(place / f"{name}_{number}.png")
            (place / f"{name}_{number}.txt").write_text(f"{name} noise {number}")
        kind = "video" if frames > 1 else "image"
        text += (
            f'[[datasets]]\n{kind}_directory = "{place}"\ncache_directory = "{folder / "cache" / name}"\n'
            f"resolution = [{width}, {height}]\n{subject.dataset}"
            + (f"target_frames = [{frames}]\n" if frames > 1 else "")
        )
    file = folder / "data.toml"
    file.write_text(text)
    for kind, words in (("latents", subject.words), ("text", ())):
        line = ["cache", kind, family, "--dataset", str(file), "--model", model, *words, "--quiet"]
        assert main(line) == 0
    return file


def prepare(folder: Path, family: str) -> dict[str, str]:
    """A model with random weights, and images and clips of some sizes that are encoded with it."""
    model = str(folder / "model")
    if family == "cogvideox":
        write_cogvideox(folder / "model", seed=1, transformer=TINY_TRANSFORMER)
    else:
        write_framepack(folder / "model", seed=1, direction="both")
    return {"model": model, "dataset": str(write_data(folder, family, model))}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    return {family: prepare(tmp_path_factory.mktemp(family), family) for family in SUBJECTS}


@pytest.fixture
def begin(prepared, tmp_path: Path):
    def start(family: str, run: str, **more: Any) -> Generator[Event]:
        return train.run(family, config_of(family, prepared[family], run=str(tmp_path / run), **more))

    return start


def config_of(family: str, prepared: dict[str, str], **more: Any) -> TrainConfig:
    mapping = {
        **prepared,
        **SUBJECTS[family].settings,
        "packing": {"tokens": SUBJECTS[family].tokens},
        "seed": 11,
        "method": "full",
        "optimizer": {"learning_rate": 1e-3},
        "saving": {"state_at_end": False, "state_every_steps": 3},
        **more,
    }
    return from_mapping(families.configs(family).TRAIN, mapping, "test")


@pytest.mark.parametrize(("family", "noise"), NOISES)
def test_packs_come_to_the_losses_and_gradients_of_their_items_one_by_one(family, noise, prepared):
    subject = SUBJECTS[family]
    config = config_of(family, prepared[family], noise=subject.noises[noise])
    device = torch.device("cpu")
    with find(family, config) as found:
        denoiser = found.model.load(device, torch.float32, seed=0).requires_grad_(True)
        task = DenoiserTask(objective=found.model.objective(device, torch.float32))

        def learn(batches: list[Any]) -> tuple[list[float], dict[str, Tensor]]:
            denoiser.zero_grad()
            errors: list[float] = []
            for batch in batches:
                losses = task.losses(denoiser, batch, 1)
                assert losses.errors_B is not None
                errors += losses.errors_B.tolist()
                (losses.total / subject.num_items).backward()
            named = denoiser.named_parameters()
            return errors, {name: weight.grad.clone() for name, weight in named if weight.grad is not None}

        packs = list(Loader(found.data.items, seed=config.seed, packing=found.packing))
        assert any(len({part.group for part in pack.parts}) > 2 for pack in packs)
        errors, gradients = learn(packs)
        errors_alone, gradients_alone = learn([part for pack in packs for part in pack.parts])
    assert len(errors) == subject.num_items
    assert errors == pytest.approx(errors_alone, rel=SAME)
    assert gradients.keys() == gradients_alone.keys()
    for name, gradient in gradients.items():
        assert (gradient - gradients_alone[name]).abs().max() < SAME, name


@pytest.mark.parametrize(("family", "method"), [(family, how) for family in SUBJECTS for how in METHODS])
def test_a_run_in_packs_learns_what_one_of_single_items_does(family, method, begin, tmp_path):
    for _ in begin(family, "packed", method=method, steps=3, packing={"tokens": 20_000}):
        pass
    num_items = SUBJECTS[family].num_items
    for _ in begin(family, "single", method=method, steps=3, packing={}, accumulation=num_items):
        pass
    packed, single = lines_of(tmp_path / "packed"), lines_of(tmp_path / "single")
    for name in ("loss", "gradient_norm"):
        assert [line[name] for line in packed] == pytest.approx([line[name] for line in single], rel=SAME)
    assert all(0 < line["padding_waste"] < 1 for line in packed)
    assert not any("padding_waste" in line for line in single)


@pytest.mark.parametrize("family", list(SUBJECTS))
def test_a_packed_run_that_is_killed_ends_in_the_same_bytes(family, begin, tmp_path):
    more = {"method": "lora", "steps": 5, "execution": {"activation_checkpoint": True}}
    for _ in begin(family, "whole", **more):
        pass
    events = begin(family, "killed", **more)
    for event in events:
        if isinstance(event, StepDone) and event.stage == "train" and event.step == 4:
            break
    with pytest.raises(SystemError):  # as no one catches it, the state after step 3 is the last one
        events.throw(SystemError())
    for _ in begin(family, "killed", **more):
        pass
    assert losses_of(tmp_path / "killed") == losses_of(tmp_path / "whole")
    assert weights_of(tmp_path / "killed") == weights_of(tmp_path / "whole") != {}


@pytest.mark.parametrize("family", list(SUBJECTS))
def test_twenty_steps_in_packs_come_to_the_losses_that_they_always_did(family, begin, tmp_path):
    subject = SUBJECTS[family]
    events = list(begin(family, "run", steps=20))
    losses = losses_of(tmp_path / "run")
    known = json.loads(GOLDEN.read_text())
    if os.environ.get("REELWRIGHT_GOLDEN") == "write":
        known[family] = [round(loss, 7) for loss in losses]
        GOLDEN.write_text(json.dumps(known, indent=1) + "\n")
    assert losses == pytest.approx(known[family], rel=CLOSE)
    assert len(losses) == 20
    notices = [event.message for event in events if isinstance(event, Notice)]
    told = (f"packs of at most {subject.tokens:,} tokens", f"{subject.num_packs} make an epoch")
    assert any(all(words in notice for words in told) for notice in notices)


def test_packs_that_hold_no_item_are_refused(begin):
    with pytest.raises(ConfigError, match=r"packing\.tokens: 90 are too few for items of 94 tokens"):
        next(begin("cogvideox", "few", packing={"tokens": 90}))
