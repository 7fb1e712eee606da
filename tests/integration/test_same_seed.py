"""A seed is a promise: the same one gives the same bytes, however the clip is asked for."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import reelwright as package
from reelwright.api import generate as generate_clips
from reelwright.core.config import read_toml

Digests = Callable[[Path], dict[str, str]]
SMALL: dict[str, Any] = {
    "prompt": "a red ball",
    "steps": 2,
    "num_frames": 9,
    "height": 64,
    "width": 64,
    "seed": 3,
}


def test_two_runs_in_a_row_give_the_same_bytes_and_another_seed_gives_others(generate, tmp_path, digests):
    for run, seed in (("a", 3), ("b", 3), ("c", 4)):
        assert generate("--run", run, "--seed", seed).code == 0
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    assert len(digests(tmp_path / "a")) == 3
    assert not set(digests(tmp_path / "a").values()) & set(digests(tmp_path / "c").values())


def test_the_python_api_and_two_processes_give_the_same_bytes_with_cold_and_warm_cache(
    in_process, tmp_path, digests
):
    words = ("--steps", "2", "--num-frames", "9", "--height", "64", "--width", "64", "--seed", "3")
    cache = tmp_path / "own-cache"
    for run in ("cold", "warm"):
        done = in_process(
            *("generate", "cogvideox", "--prompt", "a red ball", *words, "--run", run),
            REELWRIGHT_CACHE=str(cache),
        )
        assert done.code == 0, done.err
        assert list(cache.rglob("*.safetensors"))
    (clip,) = generate_clips("cogvideox", run=tmp_path / "api", **SMALL)
    assert clip.video.parent == tmp_path / "api"
    assert clip.frames().shape == (9, 64, 64, 3)
    assert digests(tmp_path / "cold") == digests(tmp_path / "warm") == digests(tmp_path / "api")


def test_the_text_encoder_is_loaded_for_a_new_prompt_only(generate):
    assert "T5EncoderModel" in generate("--run", "cold").loaded
    assert "T5EncoderModel" not in generate("--run", "warm", "--seed", "4").loaded


def test_a_cache_that_cannot_be_written_does_not_stop_the_clip(generate, tmp_path, monkeypatch, digests):
    generate("--run", "with")
    (tmp_path / "file").touch()
    monkeypatch.setenv("REELWRIGHT_CACHE", str(tmp_path / "file" / "cache"))
    assert generate("--run", "without").code == 0
    assert digests(tmp_path / "with") == digests(tmp_path / "without")


def test_a_seed_of_minus_one_is_drawn_and_recorded_and_can_be_replayed(
    generate, reelwright, tmp_path, digests
):
    for run in ("a", "b"):
        assert generate("--run", run, "--seed", "-1").code == 0
    seeds = [read_toml(tmp_path / run / "recipe.toml")["seed"] for run in ("a", "b")]
    assert min(seeds) >= 0
    assert seeds[0] != seeds[1]
    video = tmp_path / "a" / f"clip-001_seed-{seeds[0]}.mp4"
    assert reelwright("replay", video, "--run", "again").code == 0
    assert digests(tmp_path / "a") == digests(tmp_path / "again")


def test_several_seeds_of_a_prompt_are_the_clips_of_those_seeds_alone(generate, tmp_path, digests):
    assert generate("--run", "both", "--num-videos", "2").code == 0
    generate("--run", "first")
    generate("--run", "second", "--seed", "4")
    alone = {**digests(tmp_path / "first"), **digests(tmp_path / "second")}
    both = digests(tmp_path / "both")
    assert sorted(both.values()) == sorted(alone.values())
    assert {name.split(".")[0] for name in both} == {"clip-001_seed-3", "clip-002_seed-4"}


@pytest.mark.parametrize("flag", ["--preview-every", "--out"])
def test_what_does_not_touch_the_clip_does_not_touch_its_bytes(generate, tmp_path, digests, flag):
    generate("--run", "plain")
    assert generate("--run", "other", flag, "1").code == 0
    assert digests(tmp_path / "plain") == digests(tmp_path / "other")


def test_the_api_names_what_is_wrong_as_the_command_line_does():
    with pytest.raises(package.core.errors.ConfigError, match=r"stepps: unknown key\. Did you mean steps\?"):
        generate_clips("cogvideox", stepps=3)
