"""Plans on the command line: for machines and models that are not here, and beside runs that are."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .conftest import Command, Outcome

_SHORT = ("--height", "240", "--width", "368", "--num-frames", "9")
"""Plans look through all that is computed, so small clips are planned sooner."""
_GPU = ("--gpu", "4090", "--execution.vram", "8", "--execution.ram", "64")


@pytest.fixture(autouse=True)
def own_cache_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """One for all tests here, so that what one plan reads the next one knows."""
    folder = tmp_path_factory.getbasetemp() / "cache-of-plans"
    monkeypatch.setenv("REELWRIGHT_CACHE", str(folder))


def plan_of(outcome: Outcome) -> dict[str, object]:
    assert outcome.code == 0, outcome.err
    (plan,) = (event["plan"] for event in outcome.events if event["event"] == "planned")
    assert outcome.loaded == [], "a plan loads nothing"
    return plan


def test_a_released_model_is_planned_without_its_files(reelwright: Command) -> None:
    words = (
        "generate",
        "cogvideox",
        "--model",
        "5b",
        "--steps",
        "3",
        "--prompt",
        "a fox",
        "--offline",
        *_SHORT,
    )
    plan = plan_of(reelwright("plan", *words, *_GPU, "--json"))
    assert plan["device"] <= 8e9
    assert plan["problems"] == []
    assert {"offload", "stream_encoders", "block_swap"} & set(plan["chosen"])
    assert [stage["name"] for stage in plan["stages"]] == ["encode with T5", "denoise", "decode"]
    assert 20e9 < plan["read"] < 22e9, "T5 XXL, 5.6 billion parameters and an autoencoder, two bytes each"


def test_what_does_not_fit_is_told_with_the_option_that_helps(reelwright: Command) -> None:
    words = ("generate", "cogvideox", "--model", "5b", "--execution.fit", "off", *_SHORT, *_GPU)
    outcome = reelwright("plan", *words)
    assert outcome.code == 0, outcome.err
    assert "decode needs" in outcome.out
    assert "--execution.offload makes it" in outcome.out


def test_a_processor_has_one_kind_of_memory(reelwright: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.get_num_threads", lambda: 1)
    plan = plan_of(reelwright("plan", "generate", "framepack", "--video-sections", "1", "--json"))
    assert plan["device"] == 0
    assert plan["machine"] == "processor, 1 thread"
    assert {term["place"] for stage in plan["stages"] for term in stage["terms"]} == {"host"}


@pytest.mark.parametrize(("family", "model"), [("cogvideox", "2b"), ("framepack", "base")])
def test_checkpoints_make_a_step_of_training_smaller(reelwright: Command, family: str, model: str) -> None:
    words = (
        "plan",
        "train",
        family,
        "--model",
        model,
        "--clip",
        "64",
        "64",
        "9",
        "--batch",
        "2",
        "--json",
        "--gpu",
        "3060",
    )
    kept = plan_of(reelwright(*words))
    made_again = plan_of(reelwright(*words, "--execution.activation-checkpoint"))
    assert made_again["device"] < kept["device"]
    assert made_again["written"] == kept["written"] > 0


@pytest.mark.parametrize("command", [("train",), ("cache", "latents")], ids=["train", "cache"])
def test_a_data_set_says_for_which_clips_a_plan_is(
    reelwright: Command, tmp_path: Path, command: tuple[str, ...]
) -> None:
    for name, side in (("small", 64), ("large", 128)):
        words = ("--count", "2", "--width", side, "--height", side, "--fps", "8", "--num-frames", "9")
        assert reelwright("dataset", "synth", name, *words).code == 0
    told = "".join(
        f'[[datasets]]\nvideo_directory = "{name}"\n{keys}'
        f"resolution = [{side}, {side}]\ntarget_frames = [9]\n"
        for name, side, keys in (("small", 64, ""), ("large", 128, "batch_size = 2\n"))
    )
    (tmp_path / "data.toml").write_text(told)
    words = ("plan", *command, "cogvideox", "--json")
    asked = reelwright(*words, "--dataset", "data.toml")
    assert asked.code == 0, asked.err
    (note,) = [event["message"] for event in asked.events if event["event"] == "notice"]
    assert note.startswith("planned for clips of 128 x 128, 9 frames (the largest of 4 in the data set")
    assert note.endswith("), 2 together.")

    def terms(plan: dict[str, Any]) -> list[dict[str, Any]]:
        """All but the program itself, which is measured anew each time."""
        return [term for stage in plan["stages"] for term in stage["terms"] if term["name"] != "program"]

    said = plan_of(reelwright(*words, "--clip", "128", "128", "9", "--batch", "2"))
    assert terms(plan_of(asked)) == terms(said)
    other = plan_of(reelwright(*words, "--dataset", "data.toml", "--clip", "64", "64", "9"))
    assert other["host"] < said["host"]


def test_captions_take_a_text_encoder_alone(reelwright: Command) -> None:
    plan = plan_of(
        reelwright("plan", "cache", "text", "framepack", "--model", "base", "--gpu", "A100", "--json")
    )
    assert [stage["name"] for stage in plan["stages"]] == ["encode with LLaMA", "encode with CLIP"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("generate", "cogvideox", "--gpu", "409"), "Did you mean 4090?"),
        (("train", "cogvideox", "--clip", "64", "64"), "--clip 480 720 49"),
        (("generate", "cogvideox", "--clip", "64", "64", "9"), "--num-frames"),
        (("generate", "cogvideox", "--model", "5b-i2w"), "Did you mean 5b-i2v"),
        (("generate", "cogvideox", "--execution.vram", "-1"), "vram"),
        (("cache", "cogvideox"), "no action"),
    ],
    ids=["card", "clip", "clip of generate", "model", "memory", "cache"],
)
def test_bad_values_are_refused(reelwright: Command, words: tuple[str, ...], said: str) -> None:
    outcome = reelwright("plan", *words)
    assert outcome.code == 2
    assert said in outcome.err


def test_a_recipe_of_a_run_is_planned_too(reelwright: Command, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('workflow = "generate"\nfamily = "cogvideox"\nmodel = "5b"\nnum_frames = 9\n')
    words = ("plan", "generate", "cogvideox", recipe, "--gpu", "A100", "--json")
    short = plan_of(reelwright(*words, "--height", "128", "--width", "128"))
    long = plan_of(reelwright(*words, "--height", "128", "--width", "256"))
    assert short["device"] < long["device"]


def test_nothing_is_chosen_where_all_fits_as_it_is(generate: Command) -> None:
    outcome = generate("--execution.fit", "on", "--execution.ram", "64", "--format", "latent")
    assert outcome.code == 0, outcome.err
    assert "fit: " not in outcome.err, "nothing is needed"


def test_a_run_that_goes_on_keeps_the_options_it_began_with(
    generate: Command, reelwright: Command, model_of: Callable[[str], Path], tmp_path: Path
) -> None:
    words = (
        "--model",
        model_of("text"),
        "--execution.fit",
        "on",
        "--execution.ram",
        "0.2",
        "--format",
        "latent",
        "--run",
        tmp_path / "run",
    )
    first = generate(*words)
    assert first.code == 0, first.err
    assert "fit: --execution.weights fp8_scaled" in first.err
    assert "this may not fit" in first.err
    (latent,) = (tmp_path / "run").glob("*.latent.safetensors")
    before = latent.read_bytes()
    latent.unlink()
    again = reelwright("resume", tmp_path / "run")
    assert again.code == 0, again.err
    assert "fit: as this run began" in again.err
    assert latent.read_bytes() == before


@pytest.mark.skipif(sys.platform != "linux", reason="reads VmHWM")
def test_memory_is_predicted_within_a_tenth_of_what_is_measured() -> None:
    """One run of ten; benchmarks/plan_error.py has the others."""
    script = Path(__file__).parents[2] / "benchmarks" / "plan_error.py"
    done = subprocess.run(
        [sys.executable, str(script), "clip, CogVideoX small"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_plans_are_written_as_json_too(reelwright: Command) -> None:
    outcome = reelwright("plan", "cache", "text", "cogvideox", "--gpu", "H100", "--json")
    assert all(isinstance(json.loads(line), dict) for line in outcome.out.splitlines())
