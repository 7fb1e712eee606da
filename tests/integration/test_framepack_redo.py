"""Sections made again with another prompt or seed: what does not depend on them stays, byte by byte."""

import hashlib
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from reelwright.core.config import read_toml

from .stopped_runs import Event, wait_for

STEPS = 2
MADE_BEFORE = {"backward": [2], "forward": [0]}
"""Of the middle of three sections."""


@pytest.fixture(params=["backward", "forward"])
def direction(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def run(packed, tmp_path, direction) -> Path:
    """A finished run of three sections with a preview."""
    assert packed("--direction", direction, "--preview-sections", "--run", "run").code == 0
    return tmp_path / "run"


def kept_sections(run: Path) -> dict[int, set[str]]:
    """Hashes of all versions of each section that a run keeps."""
    versions: dict[int, set[str]] = {}
    for path in (run / "sections" / "clip-001").glob("section-*.safetensors"):
        number = int(path.name.removeprefix("section-")[:3])
        versions.setdefault(number, set()).add(hashlib.sha256(path.read_bytes()).hexdigest())
    return versions


def num_steps(events: list[Event]) -> int:
    return sum(event["event"] == "step_done" and event["stage"] == "denoise" for event in events)


def whole_folder(run: Path) -> dict[str, bytes]:
    return {str(path.relative_to(run)): path.read_bytes() for path in run.rglob("*") if path.is_file()}


@pytest.mark.parametrize("change", [("--seed", "77"), ("--prompt", "a green car"), ()])
def test_only_that_section_and_those_made_after_it_are_made_again(
    run, reelwright, latents_of, direction, change
):
    before, old = kept_sections(run), latents_of(at="run")
    outcome = reelwright("resume", "run", "--redo-section", "1", *change, "--json")
    assert outcome.code == 0, outcome.err
    assert num_steps(outcome.events) == 2 * STEPS
    after, new = kept_sections(run), latents_of(at="run")
    for section in range(3):
        stays = section in MADE_BEFORE[direction]
        assert before[section] <= after[section]
        assert len(after[section]) == (1 if stays else 2)
        part = slice(1 + 2 * section, 3 + 2 * section)
        assert (old[:, :, part] == new[:, :, part]).all().item() == stays


def test_the_clip_is_the_one_that_is_made_with_that_seed_and_prompt_at_once(
    run, reelwright, latents_of, direction
):
    words = ("--redo-section", "-2", "--prompt", "a green car", "--seed", "77")
    assert reelwright("resume", "run", *words).code == 0
    at_once = ("--direction", direction, "--prompt", "a red ball;;;1:a green car", "--section-seeds", "1:77")
    assert latents_of(at="run").equal(latents_of(*at_once))


def test_going_back_finds_the_sections_that_were_there(run, reelwright, digests):
    before = digests(run)
    preview = (run / "preview.mp4").read_bytes()
    assert (
        reelwright("resume", "run", "--redo-section", "1", "--prompt", "a green car", "--seed", "7").code == 0
    )
    assert not (before.items() & digests(run).items())
    outcome = reelwright(
        *("resume", "run", "--redo-section", "1", "--prompt", "a red ball", "--seed", "-1", "--json")
    )
    assert outcome.code == 0, outcome.err
    assert num_steps(outcome.events) == 0
    assert digests(run) == before
    assert (run / "preview.mp4").read_bytes() == preview


def test_a_branch_is_a_new_run_and_leaves_the_old_one_untouched(
    run, reelwright, tmp_path, direction, digests
):
    before = whole_folder(run)
    outcome = reelwright("resume", "run", "--branch", "1", "--prompt", "a green car", "--seed", "7", "--json")
    assert outcome.code == 0, outcome.err
    assert num_steps(outcome.events) == 2 * STEPS
    assert whole_folder(run) == before
    branch = tmp_path / "run-branch"
    assert [len(versions) for _, versions in sorted(kept_sections(branch).items())] == [
        1 if section in MADE_BEFORE[direction] else 2 for section in range(3)
    ]
    assert (
        reelwright("resume", "run", "--redo-section", "1", "--prompt", "a green car", "--seed", "7").code == 0
    )
    assert digests(branch) == digests(run)
    assert reelwright("resume", "run", "--branch", "0", "--into", "named").code == 0
    assert (tmp_path / "named" / "recipe.toml").is_file()
    assert reelwright("resume", "run-branch").loaded == []


def test_a_redo_that_was_stopped_while_decoding_leaves_no_clip_of_before(
    packed, start, reelwright, tmp_path, digests
):
    for run in ("run", "undisturbed"):
        packed("--no-metadata", "--run", run)
    words = ("--redo-section", "1", "--seed", "7")
    assert reelwright("resume", "undisturbed", *words).code == 0
    process = start("resume", "run", *words)
    wait_for(process, lambda event: event.get("stage") == "decode" and event["event"] == "step_done")
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert reelwright("resume", "run").code == 0
    assert digests(tmp_path / "run") == digests(tmp_path / "undisturbed")


def test_a_section_of_a_storyboard_can_be_made_again(packed, reelwright, tmp_path, latents_of):
    (tmp_path / "dog.toml").write_text(
        '[[section]]\nprompt = "a dog runs"\nseed = 5\n[[section]]\nprompt = "it jumps"\nsections = 2\n'
    )
    packed("--prompt", "", "--story", "dog.toml", "--run", "run")
    words = ("--redo-section", "0", "--prompt", "0: a cat", "--seed", "8")
    assert reelwright("resume", "run", *words).code == 0
    made = latents_of(at="run")
    texts = ("--prompt", "0:0: a cat;;;1-2:it jumps", "--section-seeds", "0:8")
    assert made.equal(latents_of(*texts))
    assert read_toml(tmp_path / "run" / "recipe.toml")["story"] == "dog.toml"


@pytest.fixture
def complaint(reelwright) -> Callable[..., str]:
    """What is said of a run that cannot be redone as asked; nothing in it changes."""

    def say(run: Path, *words: object) -> str:
        before = whole_folder(run.parent)
        outcome = reelwright("resume", run, *words)
        assert (outcome.code, outcome.loaded) == (2, []), outcome.err
        assert "Traceback" not in outcome.err
        after = whole_folder(run.parent)
        assert {name for name in after if "reelwright-cache" not in name} <= before.keys()
        assert before.items() <= after.items()
        return outcome.err

    return say


@pytest.mark.parametrize("direction", ["backward"], indirect=True)
def test_what_cannot_be_redone_is_said(run, complaint):
    for flag in ("--redo-section", "--branch"):
        for section in ("3", "-4"):
            said = complaint(run, flag, section)
            assert f"section {section}: the video has 3: 0 to 2, or -1 to -3 from the end." in said
        assert "prompt: section 1 has none" in complaint(run, flag, "1", "--prompt", "  ")
    assert "Leave out --redo-section." in complaint(run, "--redo-section", "1", "--branch", "1")
    for words in (("--prompt", "a car"), ("--seed", "3"), ("--into", "there")):
        assert "Say which with --redo-section." in complaint(run, *words)
    assert "Start one with --branch." in complaint(run, "--redo-section", "1", "--into", "there")
    assert "seed: -2 is too small" in complaint(run, "--redo-section", "1", "--seed", "-2")
    assert "run holds a run already" in complaint(run, "--branch", "1", "--into", "run")
    assert "holds ;;;, which separates sections" in complaint(run, "--redo-section", "1", "--prompt", "a;;;b")


def test_runs_without_sections_of_one_clip_cannot_be_redone(packed, generate, complaint, tmp_path):
    only_latents = ("--format", "latent")
    generate(*only_latents, "--run", "other")
    assert "cogvideox: has no sections to redo." in complaint(tmp_path / "other", "--redo-section", "0")
    packed(*only_latents, "--num-videos", "2", "--video-sections", "1", "--run", "two")
    assert "redo: the run has several clips" in complaint(tmp_path / "two", "--redo-section", "0")
    packed("--one-frame", "default", "--run", "frame")
    assert "redo: single frames have no sections." in complaint(tmp_path / "frame", "--redo-section", "0")
