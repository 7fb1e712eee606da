"""Whatever stops a video of sections, those that are finished stay, and the bytes become the same."""

import json
import signal
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from random import Random

import pytest

from .stopped_runs import Event, events_of, half_built, wait_for

LONG = (
    *("generate", "framepack", "--prompt", "0:a red ball;;;1:a green car", "--seed", "3", "--steps", "4"),
    *("--height", "64", "--width", "64", "--latent-window-size", "2", "--video-sections", "3"),
    *("--sampler", "dpm", "--preview-every", "0", "--posterior", "sample"),
)
"""Three sections of four steps, with noise drawn at each, and a growing preview."""
STEPS = 4
STEM = "clip-001_seed-3"


def is_step(step: int) -> Callable[[Event], bool]:
    return lambda event: event.get("stage") == "denoise" and event.get("step") == step


def is_section(event: Event) -> bool:
    return event.get("kind") == "section"


POINTS: dict[tuple[str, str], tuple[Callable[[Event], bool], int]] = {
    ("first section", "backward"): (is_step(2), 0),
    ("first section kept", "backward"): (is_section, 1),
    ("last section", "forward"): (is_step(2 * STEPS + 3), 2),
    ("decoding", "backward"): (lambda event: event.get("stage") == "decode" and event.get("step", 0) > 0, 3),
}
"""Where and in which direction -> when to stop, and how many sections are kept by then."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a run that nobody stopped, by direction."""
    from reelwright.cli.main import main

    root = tmp_path_factory.mktemp("whole")

    def run(direction: str) -> Path:
        folder = root / direction
        if not folder.exists():
            assert main([*LONG, "--direction", direction, "--run", str(folder), "--quiet"]) == 0
        return folder

    return run


def sections(run: Path) -> dict[str, bytes]:
    """Every kept section, by file name: latents and the piece of the preview."""
    return {path.name: path.read_bytes() for path in (run / "sections" / "clip-001").glob("section-*")}


def steps_done(events: list[Event]) -> list[int]:
    return [
        event["step"] for event in events if event["event"] == "step_done" and event["stage"] == "denoise"
    ]


def same_as(whole: Path, run: Path, digests: Callable[[Path], dict[str, str]]) -> bool:
    """Whether all files for the clip, its sections and the preview are the same bytes."""
    assert half_built(run) == []
    preview = [(folder / "preview.mp4").read_bytes() for folder in (whole, run)]
    return digests(run) == digests(whole) and sections(run) == sections(whole) and preview[0] == preview[1]


@pytest.mark.parametrize(("point", "direction"), POINTS)
def test_a_killed_run_resumes_to_the_same_bytes_and_keeps_its_sections(
    start, reelwright, tmp_path, digests, whole, point, direction
):
    reached, num_kept = POINTS[point, direction]
    process = start(*LONG, "--direction", direction, "--run", "run")
    wait_for(process, reached)
    process.send_signal(signal.SIGKILL)
    process.wait()
    run = tmp_path / "run"
    before = len(events_of(run))
    kept = {path: path.stat().st_mtime_ns for path in run.rglob("section-*.safetensors")}
    assert len(kept) >= num_kept
    outcome = reelwright("resume", "run")
    assert outcome.code == 0, outcome.err
    assert same_as(whole(direction), run, digests)
    assert all(path.stat().st_mtime_ns == time for path, time in kept.items())
    assert len(steps_done(events_of(run)[before:])) == (3 - len(kept)) * STEPS
    assert reelwright("resume", "run").loaded == []


def test_a_run_killed_again_and_again_at_random_comes_to_the_same_bytes(
    start, reelwright, tmp_path, digests, whole
):
    """Four times after some events and a moment: also between a file and the next, while one is written."""
    random = Random(20261122)
    words = (*LONG, "--direction", "forward", "--run", "run")
    for _ in range(4):
        process = start(*words)
        assert process.stdout is not None
        for _ in islice(process.stdout, random.randint(3, 20)):
            pass
        time.sleep(random.uniform(0.0, 0.2))
        process.send_signal(signal.SIGKILL)
        process.wait()
        words = ("resume", "run")
    assert reelwright("resume", "run").code == 0
    assert same_as(whole("forward"), tmp_path / "run", digests)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_a_clean_run_folder_that_resumes(start, reelwright, tmp_path, digests, whole, number):
    process = start(*LONG, "--run", "run")
    wait_for(process, is_step(STEPS + 2))
    process.send_signal(number)
    out, err = process.communicate()
    assert process.returncode == 128 + number
    assert "Traceback" not in err
    assert json.loads(out.splitlines()[-1]) == {"event": "stopped", "signal": number.name, "advice": ""}
    run = tmp_path / "run"
    assert half_built(run) == []
    assert sections(run).items() <= sections(whole("backward")).items()
    assert reelwright("resume", "run").code == 0
    assert same_as(whole("backward"), run, digests)


def test_a_second_run_in_a_folder_in_use_is_refused(start, reelwright, tmp_path, digests, whole):
    process = start(*LONG, "--run", "run")
    wait_for(process, is_section)
    process.send_signal(signal.SIGSTOP)
    for words in (("resume", "run"), ("resume", "run", "--redo-section", "0"), (*LONG, "--run", "run")):
        outcome = reelwright(*words)
        assert (outcome.code, outcome.loaded) == (1, [])
        assert "another run is using this folder" in outcome.err
    process.send_signal(signal.SIGCONT)
    process.communicate()
    assert same_as(whole("backward"), tmp_path / "run", digests)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)


@pytest.fixture
def unfinished(packed, tmp_path) -> Path:
    """A run whose sections are there but not its clip."""
    assert packed("--run", "run").code == 0
    for path in (tmp_path / "run").glob("clip-*"):
        path.unlink()
    return tmp_path / "run"


def kept_file(run: Path, section: int) -> Path:
    (path,) = (run / "sections" / "clip-001").glob(f"section-{section:03d}_*.safetensors")
    return path


@pytest.mark.parametrize(
    ("harm", "fault"), [(Path.unlink, "is missing"), (cut, "is damaged"), (flip_a_bit, "is damaged")]
)
def test_only_a_section_that_is_missing_or_damaged_is_made_again_and_that_is_said(
    unfinished, reelwright, packed, tmp_path, digests, harm, fault
):
    packed("--run", "whole")
    before = sections(unfinished)
    harm(kept_file(unfinished, 1))
    outcome = reelwright("resume", "run", "--json")
    assert outcome.code == 0, outcome.err
    (notice,) = (event["message"] for event in outcome.events if "made again" in event.get("message", ""))
    assert "section-001_" in notice
    assert f"{fault}; section 1 is made again." in notice
    assert steps_done(outcome.events) == [3, 4]
    assert sections(unfinished) == before
    assert digests(unfinished) == digests(tmp_path / "whole")


@pytest.mark.parametrize("content", [None, "", "{", "[]", '{"sections": 3}', '{"sections": [{"key": 1}]}'])
def test_a_manifest_that_is_missing_or_damaged_is_written_again_from_the_sections(
    unfinished, reelwright, content
):
    manifest = unfinished / "sections" / "clip-001" / "manifest.json"
    whole = manifest.read_text()
    manifest.unlink() if content is None else manifest.write_text(content)
    outcome = reelwright("resume", "run", "--json")
    assert outcome.code == 0, outcome.err
    said = [event["message"] for event in outcome.events if "manifest.json: is damaged" in str(event)]
    assert len(said) == (content is not None)
    assert steps_done(outcome.events) == []
    assert by_key(manifest.read_text()) == by_key(whole)


def by_key(manifest: str) -> dict[str, Event]:
    return {section["key"]: section for section in json.loads(manifest)["sections"]}


def test_a_section_that_came_too_late_for_the_manifest_is_found(unfinished, reelwright):
    """As after a kill between both files."""
    manifest = unfinished / "sections" / "clip-001" / "manifest.json"
    listed = json.loads(manifest.read_text())["sections"]
    manifest.write_text(json.dumps({"sections": listed[:-1]}))
    outcome = reelwright("resume", "run", "--json")
    assert outcome.code == 0, outcome.err
    assert steps_done(outcome.events) == []
    assert by_key(manifest.read_text()) == {section["key"]: section for section in listed}


@pytest.mark.parametrize("harm", [Path.unlink, lambda path: path.write_bytes(b"")])
def test_a_missing_or_damaged_piece_of_the_preview_is_written_again(
    reelwright, tmp_path, whole, harm, digests
):
    run = tmp_path / "run"
    assert reelwright(*LONG, "--run", "run").code == 0
    for path in run.glob("clip-*"):
        path.unlink()
    harm(kept_file(run, 1).with_suffix(".mp4"))
    outcome = reelwright("resume", "run")
    assert outcome.code == 0, outcome.err
    assert same_as(whole("backward"), run, digests)
