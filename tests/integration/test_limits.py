"""Full disks, too little memory and broken numbers: what was made is kept, and what to do is said."""

import resource
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from reelwright.checkpoint.safetensors_io import read_safetensors_metadata
from reelwright.core.config import read_toml

COMMAND = ("generate", "cogvideox", "--prompt", "a red ball", "--steps", "1", "--seed", "3", "--run", "run")
SMALL = ("--num-frames", "9", "--height", "64", "--width", "64")
STEM = "clip-001_seed-3"
LATENTS = f"{STEM}.latent.safetensors"


def limit(kind: int, size: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(kind, (size, size))


def break_weights(model: Path, name: str) -> None:
    """Make every value of a transformer's tensor NaN."""
    path = model / "transformer" / "diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    weights[name] = torch.full_like(weights[name], float("nan"))
    save_file(weights, path, {"format": "pt"})


def test_a_disk_that_fills_up_while_decoding_is_told_and_the_latents_stay(
    in_process, reelwright, model_of, tmp_path
):
    """A limit on the size of files stands for a full disk: latents of 14 kB fit, a clip of noise does not."""
    words = (*COMMAND, *SMALL, "--model", model_of("text"))
    reelwright(*words, "--run", "whole")
    assert (
        (tmp_path / "whole" / LATENTS).stat().st_size
        < 16_000
        < (tmp_path / "whole" / f"{STEM}.mp4").stat().st_size
    )
    done = in_process(*words, limits=limit(resource.RLIMIT_FSIZE, 16_000))
    assert done.code == 1, done.err
    assert "Traceback" not in done.err
    assert f"{STEM}.mp4: cannot be written" in done.err
    run = tmp_path / "run"
    assert sorted(path.name for path in run.glob("*clip*")) == [LATENTS]
    assert (run / LATENTS).read_bytes() == (tmp_path / "whole" / LATENTS).read_bytes()
    assert not list(run.glob(".*.mp4"))
    assert reelwright("resume", "run").code == 0
    assert (run / f"{STEM}.mp4").read_bytes() == (tmp_path / "whole" / f"{STEM}.mp4").read_bytes()


def test_a_disk_without_room_is_told_before_anything_starts(refused, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9, 1000))
    assert "1 kB are free" in refused("--run", "run", code=1)


def test_too_little_memory_says_what_to_lower(in_process, tmp_path):
    large = ("--num-frames", "9", "--height", "8192", "--width", "8192")
    done = in_process(*COMMAND, *large, limits=limit(resource.RLIMIT_AS, 4 << 30))
    assert done.code == 3, done.err
    assert "Traceback" not in done.err
    assert "There is not enough memory" in done.err
    for word in ("height", "width", "num_frames", "--execution.tiling"):
        assert word in done.err
    assert '"event": "failed"' in (tmp_path / "run" / "events.jsonl").read_text(encoding="utf-8")


def test_latents_stay_when_memory_runs_out_while_they_are_decoded(reelwright, tmp_path, monkeypatch):
    from reelwright.families.cogvideox.latent_space import LatentSpace

    def runs_out(*_: object):
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 99 bytes.")

    with monkeypatch.context() as patch:
        patch.setattr(LatentSpace, "decode", runs_out)
        outcome = reelwright(*COMMAND, *SMALL)
    assert outcome.code == 3
    assert "--execution.tiling" in outcome.err
    assert LATENTS in outcome.err
    assert "--from-latent" in outcome.err
    assert reelwright("generate", "cogvideox", "--from-latent", f"run/{LATENTS}", "--run", "again").code == 0
    assert (tmp_path / "again" / f"{STEM}.mp4").is_file()


@pytest.fixture
def broken(tmp_path, model_of) -> Path:
    """A model whose transformer gives NaN."""
    model = Path(shutil.copytree(model_of("text"), tmp_path / "model"))
    break_weights(model, "proj_out.bias")
    return model


def test_nan_in_the_latents_is_told_with_its_step_and_the_latents_are_kept(broken, reelwright, tmp_path):
    outcome = reelwright(*COMMAND, *SMALL, "--model", "./model", "--steps", "4")
    assert outcome.code == 1
    assert "hold NaN or infinity after step 1 of 4." in outcome.err
    assert "--execution.dtype float32" in outcome.err
    kept = tmp_path / "run" / f"{STEM}.flawed.safetensors"
    assert str(kept.name) in outcome.err
    assert load_file(kept)["latent"].isnan().any()
    assert "a red ball" in read_safetensors_metadata(kept)["reelwright"]
    assert not list((tmp_path / "run").glob("*.mp4"))


def test_flawed_latents_are_neither_resumed_from_nor_decoded(broken, reelwright, tmp_path):
    words = (*COMMAND, *SMALL, "--model", "./model")
    reelwright(*words)
    again = reelwright("resume", "run")
    assert again.code == 1
    assert "CogVideoXTransformer" in again.loaded
    flawed = f"run/{STEM}.flawed.safetensors"
    outcome = reelwright("generate", "cogvideox", "--from-latent", flawed, "--run", "decoded")
    assert (outcome.code, outcome.loaded) == (1, [])
    assert "hold NaN or infinity" in outcome.err


def test_a_run_that_failed_can_be_looked_up(broken, reelwright, tmp_path):
    reelwright(*COMMAND, *SMALL, "--model", "./model")
    events = (tmp_path / "run" / "events.jsonl").read_text(encoding="utf-8")
    assert '"kind": "NumericsError"' in events.splitlines()[-1]
    assert read_toml(tmp_path / "run" / "recipe.toml")["prompt"] == "a red ball"
