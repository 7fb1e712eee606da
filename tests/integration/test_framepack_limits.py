"""Full disks, too little memory and broken numbers: finished sections and other clips are kept."""

import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from reelwright.families.framepack.transformer import FramePackTransformer

from .stopped_runs import half_built

COMMAND = (
    *("generate", "framepack", "--prompt", "a red ball", "--seed", "3", "--steps", "2", "--run", "run"),
    *("--height", "64", "--width", "64", "--latent-window-size", "2", "--video-sections", "3"),
    *("--no-preview-sections", "--preview-every", "0"),
)
STEM = "clip-001_seed-3"
OUT_OF_MEMORY = "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes."


def denoising_steps(outcome) -> int:
    return sum(event["event"] == "step_done" and event["stage"] == "denoise" for event in outcome.events)


def section_files(run: Path) -> list[str]:
    return sorted(path.name[:11] for path in (run / "sections" / "clip-001").glob("section-*.safetensors"))


@pytest.fixture
def breaking() -> Iterator[Callable[..., pytest.MonkeyPatch]]:
    """Have the transformer fail at one of its calls, counted from 1, by an error or by NaN, until undone."""
    forward, patch = FramePackTransformer.forward, pytest.MonkeyPatch()

    def at(call: int, error: Exception | None = None) -> pytest.MonkeyPatch:
        count = 0

        def fail(self: FramePackTransformer, *inputs: object) -> torch.Tensor:
            nonlocal count
            count += 1
            if count == call and error is not None:
                raise error
            return forward(self, *inputs) * (torch.nan if count == call else 1.0)

        patch.setattr(FramePackTransformer, "forward", fail)
        return patch

    yield at
    patch.undo()


def test_a_disk_that_is_full_after_the_sections_keeps_them(in_process, reelwright, tmp_path, digests):
    """A limit on the size of files stands for a full disk: sections of 9 kB fit, all latents do not."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    done = in_process(*COMMAND, limits=limit)
    assert done.code == 1, done.err
    assert "Traceback" not in done.err
    assert f"{STEM}.latent.safetensors: cannot be written" in done.err
    run = tmp_path / "run"
    assert section_files(run) == ["section-000", "section-001", "section-002"]
    assert half_built(run) == []
    outcome = reelwright("resume", "run", "--json")
    assert (outcome.code, denoising_steps(outcome)) == (0, 0)
    reelwright(*COMMAND, "--run", "whole")
    assert digests(run) == digests(tmp_path / "whole")


def test_sections_stay_when_memory_runs_out_at_a_later_one(breaking, reelwright, tmp_path, digests):
    patch = breaking(4, RuntimeError(OUT_OF_MEMORY))
    outcome = reelwright(*COMMAND)
    assert outcome.code == 3
    assert "There is not enough memory" in outcome.err
    assert "Finished sections are kept: go on with reelwright resume run." in outcome.err
    assert section_files(tmp_path / "run") == ["section-002"]
    patch.undo()
    outcome = reelwright("resume", tmp_path / "run", "--json")
    assert (outcome.code, denoising_steps(outcome)) == (0, 4)
    reelwright(*COMMAND, "--run", tmp_path / "whole")
    assert digests(tmp_path / "run") == digests(tmp_path / "whole")


def test_nan_is_told_with_its_section_and_is_not_kept_among_them(breaking, reelwright, tmp_path):
    patch = breaking(3)
    outcome = reelwright(*COMMAND)
    assert outcome.code == 1
    assert "the latents of section 1 hold NaN or infinity." in outcome.err
    assert "--execution.dtype float32" in outcome.err
    run = tmp_path / "run"
    assert section_files(run) == ["section-002"]
    assert load_file(run / f"{STEM}.flawed.safetensors")["latent"].isnan().any()
    patch.undo()
    outcome = reelwright("resume", run, "--json")
    assert (outcome.code, denoising_steps(outcome)) == (0, 4)


@pytest.mark.parametrize("error", [None, RuntimeError("the third call fails")])
def test_a_clip_that_fails_does_not_stop_the_others(breaking, reelwright, tmp_path, digests, error):
    """Of three clips of two steps, the second fails; resumed, only that one is made."""
    (tmp_path / "prompts.txt").write_text("a red ball\na green car --d 5\na dog\n")
    words = ("--video-sections", "1", "--from-file", "prompts.txt")
    batch = [word for word in COMMAND if word not in ("--prompt", "a red ball")]
    patch = breaking(3, error)
    outcome = reelwright(*batch, *words)
    assert outcome.code == 1
    assert "clip 2: " in outcome.err
    assert ("the third call fails" in outcome.err) == (error is not None)
    run = tmp_path / "run"
    made = {path.name for path in run.glob("clip-*.mp4")}
    assert made == {"clip-001_seed-3.mp4", "clip-003_seed-3.mp4"}
    patch.undo()
    outcome = reelwright("resume", run, "--json")
    assert (outcome.code, denoising_steps(outcome)) == (0, 2)
    reelwright(*batch, *words, "--run", tmp_path / "whole")
    whole = digests(tmp_path / "whole")
    assert whole.items() <= digests(run).items()
