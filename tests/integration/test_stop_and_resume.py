"""Whatever stops a run, nothing finished is lost; resumed, it gives the bytes of an undisturbed run."""

import json
import signal
from collections.abc import Callable

import pytest

from .stopped_runs import Event, contents, events_of, half_built, wait_for

LONG = (
    *("generate", "cogvideox", "--prompt", "a red ball", "--seed", "3", "--num-videos", "2", "--steps", "4"),
    *("--num-frames", "17", "--height", "64", "--width", "64", "--preview-every", "2"),
)
NO_METADATA = (*LONG, "--no-metadata")
POINTS: dict[str, Callable[[Event], bool]] = {
    "networks load": lambda event: event.get("stage") == "load networks",
    "denoising of the first clip": lambda event: event.get("stage") == "denoise" and event.get("step") == 3,
    "its latents saved": lambda event: event.get("kind") == "latent",
    "its decoding": lambda event: event.get("stage") == "decode" and event.get("step") == 1,
    "one clip done": lambda event: event["event"] == "clip_finished",
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, digests) -> dict[str, str]:
    """Hashes of the files of the run that nobody stopped."""
    from reelwright.cli.main import main

    folder = tmp_path_factory.mktemp("whole")
    assert main([*LONG, "--run", str(folder / "run"), "--quiet"]) == 0
    return digests(folder / "run")


@pytest.mark.parametrize("point", POINTS)
def test_a_killed_run_resumes_to_the_same_bytes_and_keeps_what_was_done(
    start, reelwright, tmp_path, digests, whole, point
):
    process = start(*LONG, "--run", "run")
    wait_for(process, POINTS[point])
    process.send_signal(signal.SIGKILL)
    process.wait()
    run = tmp_path / "run"
    done = {path: path.stat().st_mtime_ns for path in run.glob("clip-*") if path.is_file()}
    before = len(events_of(run))
    outcome = reelwright("resume", "run")
    assert outcome.code == 0, outcome.err
    assert digests(run) == whole
    assert half_built(run) == []
    denoised = sum(
        event.get("stage") == "denoise" and event["event"] == "stage_started"
        for event in events_of(run)[before:]
    )
    latents = sum(path.name.endswith(".latent.safetensors") for path in done)
    assert denoised == 2 - latents
    if point == "one clip done":
        assert all(path.stat().st_mtime_ns == time for path, time in done.items())
    assert reelwright("resume", "run").loaded == []


def test_a_killed_run_without_metadata_keeps_what_was_done_too(start, reelwright, tmp_path):
    process = start(*NO_METADATA, "--run", "run")
    wait_for(process, POINTS["one clip done"])
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").glob("clip-001*")}
    assert len(done) == 4
    assert reelwright("resume", "run").code == 0
    assert all(path.stat().st_mtime_ns == time for path, time in done.items())
    assert reelwright("resume", "run").loaded == []


@pytest.mark.parametrize(
    ("number", "point"),
    [(signal.SIGINT, "denoising of the first clip"), (signal.SIGTERM, "its decoding")],
)
def test_a_signal_leaves_a_clean_run_folder_that_resumes(
    start, reelwright, tmp_path, digests, whole, point, number
):
    process = start(*LONG, "--run", "run")
    wait_for(process, POINTS[point])
    process.send_signal(number)
    out, err = process.communicate()
    assert process.returncode == 128 + number
    assert "Traceback" not in err
    assert json.loads(out.splitlines()[-1]) == {"event": "stopped", "signal": number.name, "advice": ""}
    run = tmp_path / "run"
    assert half_built(run) == []
    assert digests(run).items() <= whole.items()
    assert events_of(run)[-1] == {"event": "stopped", "signal": number.name, "advice": ""}
    assert reelwright("resume", "run").code == 0
    assert digests(run) == whole


def test_a_second_run_in_a_folder_in_use_is_refused(start, reelwright, tmp_path, digests, whole):
    process = start(*LONG, "--run", "run")
    wait_for(process, POINTS["denoising of the first clip"])
    process.send_signal(signal.SIGSTOP)
    before = contents(tmp_path / "run")
    for words in (("resume", "run"), (*LONG, "--run", "run")):
        outcome = reelwright(*words)
        assert outcome.code == 1
        assert "another run is using this folder" in outcome.err
        assert outcome.loaded == []
    assert contents(tmp_path / "run") == before
    process.send_signal(signal.SIGCONT)
    process.communicate()
    assert digests(tmp_path / "run") == whole


def test_a_folder_with_another_recipe_is_refused_and_not_touched(generate, tmp_path):
    generate("--run", "run")
    before = contents(tmp_path / "run")
    outcome = generate("--run", "run", "--crf", "30")
    assert (outcome.code, outcome.loaded) == (2, [])
    assert "holds another run" in outcome.err
    assert "resume" in outcome.err
    assert contents(tmp_path / "run") == before


def test_the_same_command_again_finds_everything_done(generate, tmp_path, digests):
    generate("--run", "run")
    before = digests(tmp_path / "run")
    outcome = generate("--run", "run")
    assert (outcome.code, outcome.loaded) == (0, [])
    assert digests(tmp_path / "run") == before


def test_a_deleted_video_is_decoded_again_from_its_latents(generate, reelwright, tmp_path, digests):
    generate("--run", "run")
    before = digests(tmp_path / "run")
    (tmp_path / "run" / "clip-001_seed-3.mp4").unlink()
    assert reelwright("resume", "run").loaded == ["CogVideoXAutoencoder"]
    assert digests(tmp_path / "run") == before
