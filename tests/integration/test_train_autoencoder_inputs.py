"""What an autoencoder cannot be trained on is said before a model loads: what, where, and what to do."""

from pathlib import Path

import pytest

from reelwright.cli.main import main

from .training_data import RATES, draw_clips

RECIPE = """
stage = "autoencoder"
init = "random"
[[stages]]
frames = 5
width = 32
height = 32
batch_size = 1
"""
CASES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "frames": (("--stages.0.frames", "7"), ("stages.0.frames: 7 is not 4k+1", "5 and 9")),
    "long": (("--stages.0.frames", "33"), ("stages.0", "33 frames of 32x32", "The longest has 9 frames")),
    "side": (("--stages.0.width", "36"), ("stages.0.width: 36", "Use 32")),
    "large": (
        ("--stages.0.width", "128", "--stages.0.height", "128", "--fit", "crop"),
        ("5 frames of 128x128", "64x64", "--fit resize"),
    ),
    "batch": (("--stages.0.batch-size", "0"), ("batch_size: 0 is too small", "Use 1")),
    "stage": (
        ("--stage", "autoencoders"),
        ("'autoencoders' is no stage of training", "Did you mean autoencoder?"),
    ),
    "decoder": (("--learned", "decoder"), ("learned: a random encoder must learn too", "--init checkpoint")),
    "inflated decoder": (
        ("--init", "inflated", "--learned", "decoder"),
        ("learned: inflating changes the encoder too", "--init checkpoint"),
    ),
    "balance": (
        ("--init", "checkpoint", "--learned", "decoder", "--balanced"),
        ("balanced: latents keep their meaning", "Leave one of the two out"),
    ),
    "weights": (("--vae", "nowhere"), ("vae: nowhere: there is no such file or folder",)),
    "sizes": (("--sizes.block-out-channels", "8", "8"), ("has 2 widths", "4 stages")),
    "groups": (
        ("--sizes.block-out-channels", "8", "8", "8", "9"),
        ("9 channels cannot be normalized in 8 groups",),
    ),
    "epochs": (("--saving.every-epochs", "1"), ("saving.every_epochs: has no effect on autoencoders",)),
    "data": (("--dataset", "nowhere"), ("nowhere",)),
    "judge": (("--losses.perceptual", "1"), ("losses.perceptual", "perceptual_weights")),
    "checkpoint sizes": (
        ("--init", "checkpoint", "--sizes.latent-channels", "8"),
        ("sizes.latent_channels", "--init random"),
    ),
    "held-out": (
        ("--validation.dataset", "{clips}", "--validation.frames", "33"),
        ("validation", "33 frames", "The longest has 9 frames"),
    ),
}


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "clips"
    draw_clips(folder, 9, fps=RATES["cogvideox"], count=2)
    return folder


@pytest.mark.parametrize("case", CASES)
def test_what_cannot_be_is_refused_before_a_run_begins(case, clips, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    Path("recipe.toml").write_text(RECIPE)
    words, said = CASES[case]
    words = tuple(word.format(clips=clips) for word in words)
    line = ["train", "cogvideox", "recipe.toml", "--dataset", str(clips), "--run", "run", *words]
    assert main(line) == 2
    errors = capfd.readouterr().err
    for part in said:
        assert part in errors, errors
    assert not Path("run").exists()


def test_a_recipe_of_another_stage_is_told_apart_by_its_first_lines(clips, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    Path("recipe.toml").write_text('stage = "autoencoder"\nmethod = "lora"\n')
    assert main(["train", "cogvideox", "recipe.toml", "--dataset", str(clips)]) == 2
    assert "method: unknown key" in capfd.readouterr().err


def test_sources_that_are_enlarged_are_told(clips, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    Path("recipe.toml").write_text(
        RECIPE.replace("width = 32", "width = 128").replace("frames = 5", "frames = 1")
    )
    sizes = ("--sizes.block-out-channels", "8", "8", "8", "8", "--validation.num-clips", "1", "--steps", "1")
    assert main(["train", "cogvideox", "recipe.toml", "--dataset", str(clips), *sizes]) == 0
    assert "2 sources are smaller than 1 frames of 128x32 and are enlarged" in capfd.readouterr().err
