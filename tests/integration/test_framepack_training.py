"""FramePack's own part of a run: caches of each mode, samples, LoRAs that are used as they were trained."""

import json
from pathlib import Path

import pytest
from PIL import Image
from safetensors import safe_open

from reelwright.workflows.training import level_chart

from .training_data import make_data

PICTURES = """
[general]
resolution = [64, 64]
caption_extension = ".txt"
batch_size = 2
[[datasets]]
image_directory = "{folder}/targets"
control_directory = "{folder}/controls"
cache_directory = "{folder}/cache"
fp_1f_clean_indices = [0]
fp_1f_target_index = 1
fp_1f_no_post = true
"""
SMALL = (
    "--preview-every",
    0,
    "--height",
    64,
    "--width",
    64,
    "--steps",
    1,
    "--prompt",
    "a square",
    "--format",
    "latent",
)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A file of data sets of two pictures, each made from another one; captions differ in length."""
    folder = tmp_path / "pictures"
    for kind, gray in (("targets", 200), ("controls", 90)):
        (folder / kind).mkdir(parents=True)
        for number in range(2):
            Image.new("RGB", (64, 64), (gray, 40 * number, 0)).save(folder / kind / f"{number}.png")
    for number, caption in enumerate(("red", "a brighter red than that of the other one")):
        (folder / "targets" / f"{number}.txt").write_text(caption)
    file = folder / "data.toml"
    file.write_text(PICTURES.format(folder=folder))
    return file


def metadata_of(path: Path) -> dict[str, str]:
    with safe_open(path, "pt") as file:
        return file.metadata()


def test_a_lora_of_single_frames_learns_from_the_cache_and_is_used_as_it_was_trained(
    reelwright, pictures, tmp_path
):
    options = ("--mode", "one_frame", "--one-frame-no-2x", "--one-frame-no-4x")
    assert reelwright("cache", "latents", "framepack", "--dataset", pictures, *options).code == 0
    assert reelwright("cache", "text", "framepack", "--dataset", pictures).code == 0
    control = tmp_path / "pictures" / "controls" / "0.png"
    prompts = tmp_path / "prompts.txt"
    prompts.write_text(f"a red --w 64 --h 64 --s 1 --d 3 --ci {control}")
    run = tmp_path / "run"
    words = ("--samples.prompts", prompts, "--samples.every-steps", 2, "--adapter.rank", 2, "--seed", 1)
    trained = reelwright("train", "framepack", "--dataset", pictures, "--run", run, "--steps", 2, *words)
    assert trained.code == 0, trained.err
    assert list((run / "samples").glob("**/*.png"))
    lora = run / "trained.safetensors"
    said = metadata_of(lora)
    assert said["ss_fp_variant"] == "one_frame"
    assert said["ss_fp_one_frame"] == "target_index=1,control_index=0,no_2x,no_4x,no_post"
    made = reelwright(
        "generate",
        "framepack",
        *SMALL,
        "--lora",
        lora,
        "--control-image",
        control,
        "--run",
        tmp_path / "made",
    )
    assert made.code == 0, made.err
    assert f"one_frame: {said['ss_fp_one_frame']}, with which trained.safetensors was trained." in made.err
    (latents,) = (tmp_path / "made").glob("*latent*.safetensors")
    record = json.loads(metadata_of(latents)["reelwright"])
    assert record["config"]["one_frame"] == said["ss_fp_one_frame"]


def test_a_lora_of_f1_makes_sections_forward_in_its_window(reelwright, tmp_path):
    data = make_data(tmp_path / "clips", "framepack", count=2, batch_size=2, words=("--mode", "f1"))
    run = tmp_path / "run"
    words = ("--steps", 1, "--adapter.rank", 2, "--seed", 1, "--noise.num-timestep-buckets", 2)
    trained = reelwright("train", "framepack", "--dataset", data, "--run", run, *words)
    assert trained.code == 0, trained.err
    lora = run / "trained.safetensors"
    said = metadata_of(lora)
    assert (said["ss_fp_variant"], said["ss_latent_window_size"]) == ("f1", "2")
    made = reelwright("generate", "framepack", *SMALL, "--lora", lora, "--video-sections", 1)
    assert made.code == 0, made.err
    assert "sections are made forward" in made.err
    assert "latent_window_size: 2, with which trained.safetensors was trained." in made.err


@pytest.fixture(scope="module")
def base_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of data sets of one clip, encoded for sections backward."""
    return make_data(tmp_path_factory.mktemp("clips"), "framepack", count=1)


def test_timesteps_are_shown_and_nothing_is_trained(reelwright, base_data, tmp_path, monkeypatch):
    monkeypatch.setattr(level_chart, "ENOUGH_ITEMS", 4)
    train = ("train", "framepack", "--dataset", base_data, "--out", tmp_path / "out", "--name", "mine")
    shown = reelwright(*train, "--show-timesteps", "console")
    assert shown.code == 0, shown.err
    assert shown.out.startswith("timesteps of 4 items\n") and shown.out.endswith("\n")
    assert not (tmp_path / "out").exists()
    drawn = reelwright(*train, "--show-timesteps", "image")
    assert drawn.out == f"timesteps: {tmp_path / 'out' / 'mine-timesteps.png'}\n"
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine-timesteps.png"]


def test_caches_of_another_mode_are_neither_trained_on_nor_judged(reelwright, base_data, tmp_path):
    refused = reelwright("train", "framepack", "--dataset", base_data, "--mode", "f1")
    assert refused.code == 2
    assert 'was made with other settings: mode was "base", is "f1". Run' in refused.err
    of_f1 = make_data(tmp_path / "f1", "framepack", count=1, words=("--mode", "f1"))
    judged = reelwright("train", "framepack", "--dataset", base_data, "--validation.dataset", of_f1)
    assert judged.code == 2
    assert "validation.dataset: its mode is f1, and base is trained." in judged.err


def test_where_weights_cannot_be_written_the_state_is_kept(reelwright, base_data, tmp_path):
    in_the_way = tmp_path / "full" / "trained.safetensors"
    (in_the_way / "kept").mkdir(parents=True)
    words = ("--steps", 1, "--adapter.rank", 2, "--saving.folder", tmp_path / "full")
    refused = reelwright("train", "framepack", "--dataset", base_data, "--run", tmp_path / "run", *words)
    assert (refused.code, "cannot be written" in refused.err) == (1, True)
    assert f"reelwright resume {tmp_path / 'run'}\n" in refused.err
    (in_the_way / "kept").rmdir()
    in_the_way.rmdir()
    assert reelwright("resume", tmp_path / "run").code == 0
    assert in_the_way.is_file()
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == 1
