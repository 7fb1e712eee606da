"""The lines of the guide that make caches, as they stand there, with data sets as its users have them."""

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from reelwright import families
from reelwright.cli.main import main
from reelwright.cli.musubi import cache_latents, cache_text_encoder_outputs
from reelwright.media.video_writer import write_mp4

TINY = Path(families.__file__).parents[1] / "assets" / "framepack-tiny"
LATENTS = (
    "--dataset_config path/to/toml --vae path/to/vae_model.safetensors"
    " --image_encoder path/to/image_encoder_model.safetensors"
    " --vae_chunk_size 32 --vae_spatial_tile_sample_min_size 128"
)
TEXT = (
    "--dataset_config path/to/toml --text_encoder1 path/to/text_encoder1"
    " --text_encoder2 path/to/text_encoder2 --batch_size 16"
)
PLACES = {
    "vae_model.safetensors": "vae",
    "image_encoder_model.safetensors": "image_encoder",
    "text_encoder1": "text_encoder",
    "text_encoder2": "text_encoder_2",
    "tokenizer": "tokenizer",
    "tokenizer_2": "tokenizer_2",
}

Run = Callable[[str], dict[str, Any]]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the guide's paths lead to the tiny model."""
    place = tmp_path / "path" / "to"
    place.mkdir(parents=True)
    for name, part in PLACES.items():
        (place / name).symlink_to(TINY / part)
    monkeypatch.chdir(tmp_path)
    return place


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    """Run a line, and tell its exit code, its errors and its facts."""

    def start(line: str) -> dict[str, Any]:
        script = cache_text_encoder_outputs if "text_encoder1" in line else cache_latents
        code = script([*shlex.split(line), "--json"])
        printed = capfd.readouterr()
        events = [json.loads(text) for text in printed.out.splitlines()]
        facts = next((event["facts"] for event in events if event["event"] == "facts"), {})
        return {"code": code, "errors": printed.err, **facts}

    return start


@pytest.fixture
def clips(folder: Path) -> Path:
    """Two clips of three sections of two latents, and a file of data sets as the guide tells it."""
    draw = np.random.default_rng(5)
    for number in range(2):
        video = draw.integers(0, 256, (25, 64, 64, 3), dtype=np.uint8)
        write_mp4(folder / f"my_clip_{number}.mp4", [torch.from_numpy(video)], fps=30)
        (folder / f"my_clip_{number}.txt").write_text(f"clip number {number}")
    (folder / "toml").write_text(
        '[general]\nresolution = [64, 64]\ncaption_extension = ".txt"\nbatch_size = 1\nenable_bucket = true\n'
        f'[[datasets]]\nvideo_directory = "{folder}"\ncache_directory = "{folder}/cache"\n'
        'frame_extraction = "full"\nmax_frames = 500\nfp_latent_window_size = 2\n'
    )
    return folder / "cache"


@pytest.fixture
def pictures(folder: Path) -> Path:
    """A picture and the one it is made from."""
    (folder / "control").mkdir()
    draw = np.random.default_rng(6)
    for name in ("one.png", "control/one.png"):
        Image.fromarray(draw.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(folder / name)
    (folder / "one.txt").write_text("a picture")
    (folder / "toml").write_text(
        '[general]\nresolution = [64, 64]\ncaption_extension = ".txt"\n'
        f'[[datasets]]\nimage_directory = "{folder}"\ncontrol_directory = "{folder}/control"\n'
        f'cache_directory = "{folder}/cache"\nfp_1f_clean_indices = [0]\nfp_1f_target_index = 9\n'
        "fp_1f_no_post = false\n"
    )
    return folder / "cache"


def files(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.glob("*.safetensors"))


def first_index(path: Path) -> int:
    return int(load_file(path)["latent_indices_int64"][0])


def test_the_guide_s_lines_make_the_documented_files(clips, run):
    assert run(LATENTS)["code"] == 0
    assert run(TEXT)["code"] == 0
    sections = [f"my_clip_{n}_00000-025-{k:04d}_0064x0064_fp.safetensors" for n in (0, 1) for k in range(3)]
    assert files(clips) == sorted([*sections, "my_clip_0_fp_te.safetensors", "my_clip_1_fp_te.safetensors"])
    assert [first_index(clips / name) for name in sections[:3]] == [1, 3, 5]
    with safe_open(clips / "my_clip_1_fp_te.safetensors", "pt") as text:
        assert text.metadata()["caption1"] == "clip number 1"


def test_other_options_overwrite_the_cache_and_skip_existing_no_longer_hides_it(clips, run):
    assert run(LATENTS)["encoded"] == "2"
    assert run(LATENTS)["encoded"] == "2", "without --skip_existing everything is encoded anew"
    assert run(f"{LATENTS} --skip_existing")["encoded"] == "0"
    # The other program would leave the files of another mode as they are.
    assert run(f"{LATENTS} --skip_existing --f1")["encoded"] == "2"
    assert {first_index(clips / name) for name in files(clips)} == {20}


def test_stale_files_go_unless_they_are_kept(clips, run):
    run(f"{LATENTS} --f1")
    run(TEXT)
    stale = clips / "gone_00000-025-0000_0064x0064_fp.safetensors"
    stale.write_bytes((clips / files(clips)[0]).read_bytes())
    run(f"{LATENTS} --skip_existing --f1 --keep_cache")
    assert stale.exists()
    run(f"{LATENTS} --skip_existing --f1")
    assert not stale.exists()
    assert sum(name.endswith("_fp_te.safetensors") for name in files(clips)) == 2


def test_single_pictures_are_made_from_their_control_pictures(pictures, run):
    made = run(f"{LATENTS} --one_frame --one_frame_no_4x")
    assert (made["code"], files(pictures)) == (0, ["one_0064x0064_fp.safetensors"])
    tensors = load_file(pictures / "one_0064x0064_fp.safetensors")
    assert tensors["clean_latent_indices_int64"].tolist() == [0, 10]
    assert "clean_latent_2x_indices_int64" in tensors
    assert "clean_latent_4x_indices_int64" not in tensors


def test_pictures_without_one_frame_and_without_a_target_index_are_told(pictures, run):
    assert "--one_frame" in run(LATENTS)["errors"]
    path = pictures.parent / "toml"
    path.write_text(path.read_text().replace("fp_1f_target_index = 9\n", ""))
    made = run(f"{LATENTS} --one_frame")
    assert (made["code"], "fp_1f_target_index: is missing" in made["errors"]) == (2, True)


def test_what_the_other_program_made_for_another_target_index_is_encoded_again(pictures, run, tmp_path):
    run(f"{LATENTS} --one_frame")
    name = "one_0064x0064_fp.safetensors"
    old = tmp_path / "old"
    old.mkdir()
    tensors = load_file(pictures / name)
    metadata = {"architecture": "framepack", "format_version": "1.0.1"}
    line = ["cache", "latents", "framepack", "--dataset", "path/to/toml", "--mode", "one_frame"]
    for index in (5, 9):
        tensors["latent_indices_int64"] = torch.tensor([index])
        save_file(tensors, old / name, metadata)
        (pictures / name).unlink()
        assert main([*line, "--import-from", str(old), "--quiet"]) == 0
        with safe_open(pictures / name, "pt") as found:
            assert ("reelwright_imported" in found.metadata()) == (index == 9)
            assert found.get_tensor("latent_indices_int64").tolist() == [9]


def test_debug_modes_encode_nothing(clips, run, tmp_path):
    assert run("--dataset_config path/to/toml --debug_mode image")["code"] == 0
    assert list((tmp_path / "preview").rglob("*.png"))
    assert not files(clips)
