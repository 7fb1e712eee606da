"""Saved latents can be shown again without the work of making them; what is no latent is refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from reelwright.media.video_reader import probe_video

STEM = "clip-001_seed-3"


@pytest.fixture
def made(generate, tmp_path) -> Path:
    """The latents of a clip in the folder `made`."""
    assert generate("--run", "made").code == 0
    return tmp_path / "made" / f"{STEM}.latent.safetensors"


@pytest.fixture
def decode(reelwright):
    def run(latents: Path | str, *words: object):
        return reelwright("generate", "cogvideox", "--from-latent", latents, *words)

    return run


@pytest.fixture
def changed(made: Path, tmp_path: Path) -> Callable[..., str]:
    """Write the latents again, with other content or another record."""

    def write(
        edit: Callable[[Tensor], Tensor] = lambda latents: latents, name: str = "latent", **record: object
    ):
        with safe_open(made, "pt") as file:
            latents, facts = file.get_tensor("latent"), json.loads(file.metadata()["reelwright"])
        metadata = {"reelwright": json.dumps({**facts, **record})} if record else None
        save_file({name: edit(latents).contiguous()}, tmp_path / "changed.safetensors", metadata)
        return "changed.safetensors"

    return write


def test_decoding_gives_the_files_of_the_run_and_loads_the_autoencoder_alone(made, decode, tmp_path, digests):
    outcome = decode(made, "--run", "decoded")
    assert outcome.code == 0
    assert outcome.loaded == ["CogVideoXAutoencoder"]
    assert digests(tmp_path / "made") == digests(tmp_path / "decoded")


def test_another_quality_and_format_can_be_had_and_replayed(made, decode, reelwright, tmp_path, digests):
    assert decode(made, "--crf", "45", "--run", "small").code == 0
    small, plain = tmp_path / "small" / f"{STEM}.mp4", tmp_path / "made" / f"{STEM}.mp4"
    assert small.stat().st_size < plain.stat().st_size
    assert decode(made, "--format", "png", "--run", "frames").code == 0
    assert len(list((tmp_path / "frames" / STEM).glob("frame_*.png"))) == 9
    assert reelwright("replay", small, "--run", "again").code == 0
    assert digests(tmp_path / "small") == digests(tmp_path / "again")


def test_another_rate_is_written(made, decode, tmp_path):
    assert decode(made, "--fps", "24", "--run", "fast").code == 0
    assert probe_video(tmp_path / "fast" / f"{STEM}.mp4").fps == pytest.approx(24)


def test_latents_without_a_record_are_decoded_by_the_model_that_is_named(changed, decode, tmp_path):
    outcome = decode(changed(), "--run", "decoded", "--seed", "3")
    assert outcome.code == 0
    assert (tmp_path / "decoded" / f"{STEM}.mp4").is_file()


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (lambda latents: latents * float("nan"), "NaN"),
        (lambda latents: latents[0, 0], "four or five dimensions"),
        (lambda latents: latents.repeat(2, 1, 1, 1, 1), "not those of one clip"),
        (lambda latents: latents[:, :, :0], "not those of one clip"),
    ],
)
def test_latents_that_cannot_be_a_clip_are_refused(changed, decode, refused, edit, reason):
    assert reason in refused(changed(edit), "--run", "new", code=1, command=decode)


def test_only_latents_again_are_refused(made, decode, refused):
    assert "Choose --format mp4 or png" in refused(made, "--format", "latent", code=2, command=decode)


def test_tensors_of_something_else_are_refused(changed, decode, refused, model_of, picture):
    assert "`latent`" in refused(changed(name="weights"), code=1, command=decode)
    weights = model_of("text") / "vae" / "diffusion_pytorch_model.safetensors"
    assert "`latent`" in refused(weights, code=1, command=decode)
    assert picture.name in refused(picture, code=1, command=decode)
    assert "no such file" in refused("missing.safetensors", code=1, command=decode)


def test_latents_of_another_number_of_channels_are_refused_before_the_autoencoder_loads(changed, decode):
    outcome = decode(changed(lambda latents: latents[:, :8]), "--run", "new")
    assert (outcome.code, outcome.loaded) == (1, [])
    assert "8 channels" in outcome.err
    assert "Traceback" not in outcome.err


def test_a_truncated_file_is_refused(made, decode, refused, tmp_path):
    content = made.read_bytes()
    (tmp_path / "half.safetensors").write_bytes(content[: len(content) // 2])
    assert "ends early" in refused("half.safetensors", code=1, command=decode)


def test_latents_of_another_family_are_refused(changed, decode, refused):
    said = refused(changed(family="framepack"), code=2, command=decode)
    assert "made by framepack" in said


def test_latents_are_not_decoded_by_other_weights_than_their_own(changed, decode, refused):
    said = refused(changed(models={"vae": "0" * 64}), code=1, command=decode)
    assert "vae: these are other weights" in said


def test_a_model_that_was_moved_can_be_named(reelwright, decode, model_of, tmp_path, digests):
    shutil.copytree(model_of("text"), tmp_path / "here")
    words = ("--steps", "1", "--num-frames", "1", "--height", "64", "--width", "64", "--seed", "3")
    reelwright("generate", "cogvideox", "--model", "./here", "--prompt", "a ball", *words, "--run", "a")
    (tmp_path / "here").rename(tmp_path / "there")
    latents = f"a/{STEM}.latent.safetensors"
    assert decode(latents, "--run", "b").code == 1
    assert decode(latents, "--model", "./there", "--run", "b").code == 0
    with (
        safe_open(tmp_path / latents, "pt") as first,
        safe_open(tmp_path / "b" / f"{STEM}.latent.safetensors", "pt") as second,
    ):
        assert torch.equal(first.get_tensor("latent"), second.get_tensor("latent"))
