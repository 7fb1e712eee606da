"""Whole clips with modulation tables: byte for byte what they are without."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from .conftest import SMALL

TABLES = "--execution.modulation-tables"
LATENTS = ("--format", "latent", "--no-contact-sheet", "--preview-every", "0")
OF_ALL_KINDS = {
    "rising-guidance": ("--guidance-schedule", "ramp", "--sampler", "unipc", "--steps", "3"),
    "passes-apart": ("--execution.guidance-passes", "apart"),
    "lora-beside": ("--lora", "cogvideox", "--lora-mode", "unmerged"),
    "merged-lora": ("--lora", "cogvideox"),
}
PACKED = {
    "prompts-of-sections": ("--prompt", "a red ball;;;1:a green car", "--guidance-scale", "2"),
    "both-prompts-at-once": ("--guidance-scale", "2", "--execution.guidance-passes", "together"),
    "scaled-places": ("--rope-scaling-timestep-threshold", "800", "--rope-scaling-factor", "0.5"),
    "lora-beside": ("--lora", "framepack", "--lora-mode", "unmerged"),
    "swapped-blocks": ("--execution.block-swap", "1"),
}


@pytest.fixture
def files(lora_of: Callable[[str], Path]) -> dict[str, str]:
    return {family: str(lora_of(family)) for family in ("cogvideox", "framepack")}


@pytest.mark.parametrize("words", OF_ALL_KINDS.values(), ids=OF_ALL_KINDS)
def test_clips_are_the_same_bytes(generate, digests, files, tmp_path, words):
    words = [files.get(word, word) for word in words]
    for run, way in (("plain", ()), ("tables", (TABLES,))):
        outcome = generate("--run", run, *LATENTS, *words, *way)
        assert outcome.code == 0, outcome.err
    assert digests(tmp_path / "tables") == digests(tmp_path / "plain")


def test_prompts_in_one_run_are_the_same_bytes(reelwright, digests, tmp_path):
    """Of different lengths and numbers of steps."""
    (tmp_path / "prompts.txt").write_text(
        "a red ball\na green car --d 5 --s 4\na dog --n rain\n", encoding="utf-8"
    )
    for run, way in (("plain", ()), ("tables", (TABLES,))):
        outcome = reelwright(
            "generate", "cogvideox", *SMALL, "--from-file", "prompts.txt", "--run", run, *LATENTS, *way
        )
        assert outcome.code == 0, outcome.err
    assert len(digests(tmp_path / "plain")) == 3
    assert digests(tmp_path / "tables") == digests(tmp_path / "plain")


def test_clips_of_a_model_with_a_second_time_embedding_are_the_same_bytes(
    generate, digests, model_of, picture, tmp_path
):
    words = ("--model", model_of("second-image"), "--num-frames", "17", "--image", picture, *LATENTS)
    assert generate("--run", "plain", *words).code == 0
    assert generate("--run", "tables", *words, TABLES).code == 0
    assert digests(tmp_path / "tables") == digests(tmp_path / "plain")


@pytest.mark.parametrize("words", PACKED.values(), ids=PACKED)
def test_sections_are_the_same_bytes(packed, digests, files, tmp_path, words):
    words = [files.get(word, word) for word in words]
    for run, way in (("plain", ()), ("tables", (TABLES,))):
        outcome = packed("--run", run, "--video-sections", "2", *LATENTS, *words, *way)
        assert outcome.code == 0, outcome.err
    assert digests(tmp_path / "tables") == digests(tmp_path / "plain")


def test_a_section_that_is_made_again_is_the_same_bytes(packed, reelwright, latents_of):
    for run, way in (("plain", ()), ("tables", (TABLES,))):
        assert packed("--run", run, *LATENTS, *way).code == 0
        again = reelwright("resume", run, "--redo-section", "1", "--seed", "77")
        assert again.code == 0, again.err
    assert torch.equal(latents_of(at="tables"), latents_of(at="plain"))
