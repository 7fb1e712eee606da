"""Denoisers that start from a seed or are widened: trained, saved as released, used for clips."""

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from reelwright.families.cogvideox.initialization import drawn_transformer
from reelwright.families.cogvideox.key_maps import DIFFUSERS_TRANSFORMER
from reelwright.families.cogvideox.tiny import TINY_TRANSFORMER
from reelwright.families.framepack.tiny import TINY_TRANSFORMER as FRAMEPACK

from .conftest import Command
from .training_data import losses_of, make_data, weights_of

pytestmark = pytest.mark.usefixtures("small_tiny")
SMALL = replace(TINY_TRANSFORMER, num_layers=1, num_attention_heads=1)
FAST = ("--steps", "2", "--seed", "5", "--saving.state-every-steps", "0", "--saving.no-state-at-end")
SIZE = ("--height", "64", "--width", "64", "--steps", "1")


@pytest.fixture(scope="module")
def clips(small_tiny: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Files of data sets, encoded with the smallest models, by family."""
    folders = {family: tmp_path_factory.mktemp(family) for family in ("cogvideox", "framepack")}
    words = {"cogvideox": ("--first-frame", "both"), "framepack": ()}
    made = {family: make_data(folders[family], family, count=2, words=words[family]) for family in folders}
    return {family: str(file) for family, file in made.items()}


@pytest.fixture(scope="module")
def sizes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A config.json of a smaller transformer, by family."""
    folder = tmp_path_factory.mktemp("sizes")
    described = {
        "cogvideox": SMALL.to_json("CogVideoXTransformer3DModel"),
        "framepack": replace(FRAMEPACK, num_layers=1).to_json("HunyuanVideoFramepackTransformer3DModel"),
    }
    for family, config in described.items():
        (folder / f"{family}.json").write_text(json.dumps(config))
    return {family: str(folder / f"{family}.json") for family in described}


def words_of_samples(prompts: Path) -> tuple[str, ...]:
    sizes = (f"--samples.{word[2:]}" if word.startswith("--") else word for word in SIZE)
    return ("--samples.prompts", str(prompts), *sizes)


def started(family: str, dataset: str, run: Path, *words: str) -> tuple[str, ...]:
    return ("train", family, "--dataset", dataset, "--run", str(run), "--method", "full", *FAST, *words)


@pytest.mark.parametrize("family", ["cogvideox", "framepack"])
def test_a_model_from_nothing_is_trained_and_makes_clips(family, reelwright: Command, clips, sizes, tmp_path):
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a red circle --f 9\n" if family == "cogvideox" else "a red circle\n")
    more = ("--num-frames", "9") if family == "cogvideox" else ("--video-sections", "1")
    line = started(
        family, clips[family], tmp_path / "run", "--init", "random", "--init-config", sizes[family]
    )
    done = reelwright(*line, *words_of_samples(prompts))
    assert done.code == 0, done.err
    assert "init: the weights of the denoiser are drawn from the seed" in done.err
    saved = tmp_path / "run/trained"
    told = json.loads((saved / "config.json").read_text())
    assert told["num_layers"] == 1
    asked = ("--dit", str(saved), "--prompt", "a", *SIZE, *more, "--run", str(tmp_path / "clip"))
    made = reelwright("generate", family, *asked)
    assert made.code == 0, made.err


def test_a_model_from_nothing_follows_from_the_seed(reelwright: Command, clips, sizes, tmp_path):
    words = ("--init", "random", "--init-config", sizes["cogvideox"], "--optimizer.learning-rate", "0")
    for name, seed in (("one", "5"), ("again", "5"), ("other", "6")):
        line = started("cogvideox", clips["cogvideox"], tmp_path / name, *words, "--seed", seed)
        assert reelwright(*line).code == 0
    one, again, other = (weights_of(tmp_path / name) for name in ("one", "again", "other"))
    assert one == again
    assert one != other
    # Nothing was learned, so what is saved is what was drawn, in the number format of the model.
    (file,) = (tmp_path / "one/trained").glob("*.safetensors")
    drawn = DIFFUSERS_TRANSFORMER.to_file(drawn_transformer(SMALL, 5).state_dict())
    saved = load_file(file)
    assert saved.keys() == drawn.keys()
    assert all(torch.equal(saved[name], drawn[name].half()) for name in saved)


def test_a_run_from_nothing_goes_on_from_its_state(reelwright: Command, clips, sizes, tmp_path):
    words = ("--init", "random", "--init-config", sizes["framepack"], "--optimizer.name", "muon")
    kept = ("--saving.state-at-end", "--saving.state-every-steps", "1")
    line = started("framepack", clips["framepack"], tmp_path / "whole", *words)
    assert reelwright(*line).code == 0
    first = started("framepack", clips["framepack"], tmp_path / "first", *words, *kept, "--steps", "1")
    assert reelwright(*first).code == 0
    words = (*words, "--state", str(tmp_path / "first"))
    rest = started("framepack", clips["framepack"], tmp_path / "rest", *words)
    assert reelwright(*rest).code == 0
    assert weights_of(tmp_path / "rest") == weights_of(tmp_path / "whole")


@pytest.mark.parametrize(
    ("family", "named"), [("cogvideox", ("--dit", "transformer")), ("framepack", ("--model", ""))]
)
def test_a_folder_without_weights_of_the_transformer_is_enough(
    family, named, reelwright: Command, clips, small_model, tmp_path
):
    model = tmp_path / "model"
    shutil.copytree(small_model(family), model)
    for file in (model / "transformer").glob("*.safetensors*"):
        file.unlink()
    flag, folder = named
    words = (flag, str(model / folder), "--init", "random")
    done = reelwright(*started(family, clips[family], tmp_path / "run", *words))
    assert done.code == 0, done.err
    told = json.loads((tmp_path / "run/trained/config.json").read_text())
    # The folder of the model says that its weights are for both; what is trained follows the caches.
    assert told.get("direction", "") == ("backward" if family == "framepack" else "")


def test_a_widened_model_begins_as_the_narrow_one_and_then_reads_images(reelwright: Command, clips, tmp_path):
    file = clips["cogvideox"]
    wide = started("cogvideox", file, tmp_path / "wide", "--init", "widened", "--condition", "image")
    for line in (wide, started("cogvideox", file, tmp_path / "narrow")):
        assert (done := reelwright(*line)).code == 0, done.err
    first, second = (losses_of(tmp_path / name) for name in ("wide", "narrow"))
    assert first[0] == pytest.approx(second[0], rel=1e-5)
    assert first[1] != second[1]
    saved = tmp_path / "wide/trained"
    assert json.loads((saved / "config.json").read_text())["in_channels"] == 32
    picture = tmp_path / "start.png"
    Image.fromarray(np.full((64, 64, 3), 90, np.uint8)).save(picture)
    words = ("--dit", str(saved), "--prompt", "a", "--image", str(picture), *SIZE, "--num-frames", "9")
    made = reelwright("generate", "cogvideox", *words, "--run", str(tmp_path / "clip"))
    assert made.code == 0, made.err


@pytest.mark.parametrize(
    ("family", "words", "said"),
    [
        ("cogvideox", ("--init", "random", "--method", "lora"), "Add --method full"),
        ("cogvideox", ("--init-config", "sizes.json"), "Add --init random"),
        ("cogvideox", ("--init", "widened"), "Say --condition image, control or inpaint"),
        ("cogvideox", ("--init", "random", "--init-config", "gone.json"), "gone.json: there is no such"),
        ("framepack", ("--init", "widened"), "there is nothing to widen"),
    ],
    ids=["method", "config", "condition", "missing", "family"],
)
def test_a_start_that_cannot_be_is_refused(family, words, said, reelwright: Command, clips, tmp_path):
    done = reelwright(*started(family, clips[family], tmp_path / "run", *words))
    assert done.code in (1, 2)
    assert said in done.err


def test_sizes_that_do_not_go_with_the_other_parts_are_refused(reelwright: Command, clips, tmp_path):
    sizes = {
        "cogvideox": asdict(replace(SMALL, text_embed_dim=96)),
        "framepack": replace(FRAMEPACK, text_embed_dim=96).to_json("HunyuanVideoFramepackTransformer3DModel"),
    }
    for family, described in sizes.items():
        file = tmp_path / f"{family}.json"
        file.write_text(json.dumps(described))
        words = ("--init", "random", "--init-config", str(file))
        done = reelwright(*started(family, clips[family], tmp_path / "run", *words))
        assert done.code != 0
        assert "features per token" in done.err or "other parts do not go with it" in done.err
