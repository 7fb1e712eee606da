"""`reelwright dataset synth` from the command line to data sets that can be read."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from reelwright.data.dataset_file import read_dataset_file
from reelwright.data.sources import list_sources
from reelwright.data.synthetic.describing import describe
from reelwright.data.synthetic.rendering import render, render_clip
from reelwright.media.video_reader import probe_video, read_video
from reelwright.workflows.caching.holding import hold_folder

SMALL = ("--width", 64, "--height", 48, "--num-frames", 7, "--fps", 10)


@pytest.fixture
def synth(reelwright):
    def run(*words: object, out: str = "clips", code: int = 0):
        outcome = reelwright("dataset", "synth", out, *SMALL, *words)
        assert outcome.code == code, outcome.err
        return outcome

    return run


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def sources_of(path: Path):
    (dataset,) = read_dataset_file(path, {}).datasets
    return list(list_sources(dataset))


def test_clips_are_those_of_the_generator(synth, tmp_path: Path):
    synth("--count", 3, "--seed", 5)
    for index in range(3):
        path = tmp_path / "clips" / f"clip_{index:05d}.mp4"
        info = probe_video(path)
        assert (info.width, info.height, info.num_frames, info.fps) == (64, 48, 7, 10.0)
        drawn = torch.cat([*render_clip(describe(5, index), (64, 48), 10, 7)])
        assert (read_video(path).float() - drawn.float()).abs().mean() < 6


def test_the_data_set_is_read_with_captions_by_its_file_and_as_a_folder(synth, tmp_path: Path):
    outcome = synth("--count", 4)
    file = tmp_path / "clips" / "dataset.toml"
    assert outcome.out == "dataset: clips/dataset.toml\n"
    by_file, as_folder = sources_of(file), sources_of(tmp_path / "clips")
    assert [source.stem for source in by_file] == [f"clip_{index:05d}" for index in range(4)]
    assert [source.caption for source in by_file] == [source.caption for source in as_folder]
    for source in by_file:
        things = describe(0, int(source.stem[-5:])).objects
        assert source.caption is not None
        assert all(f"{thing.color} {thing.shape}" in source.caption for thing in things)


def test_the_data_set_is_read_from_any_folder(synth, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    synth("--count", 1)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    (source,) = sources_of(tmp_path / "clips" / "dataset.toml")
    assert Path(source.media).samefile(tmp_path / "clips" / "clip_00000.mp4")


def test_the_truth_of_every_frame_is_written(synth, tmp_path: Path):
    synth("--count", 2)
    told = json.loads((tmp_path / "clips/truth/clip_00001.json").read_text())
    assert [frame["time"] for frame in told["frames"]] == pytest.approx([number / 10 for number in range(7)])
    assert told["caption"] == (tmp_path / "clips/clip_00001.txt").read_text().strip()
    shapes = [thing["shape"] for thing in told["scene"]["objects"]]
    assert shapes == [thing.shape for thing in describe(0, 1).objects]
    assert all(len(frame["objects"]) == len(shapes) for frame in told["frames"])


def test_pictures_are_first_frames_and_their_captions_tell_of_no_motion(synth, tmp_path: Path):
    synth("--count", 3, "--kind", "image", "--no-truth", "--detail", "long")
    sources = sources_of(tmp_path / "clips" / "dataset.toml")
    assert [source.kind for source in sources] == ["image"] * 3
    for index, source in enumerate(sources):
        drawn = Image.fromarray(render(describe(0, index), 0.0, (64, 48)))
        assert Image.open(source.media).tobytes() == drawn.tobytes()
        assert not re.search("camera|moves|spins|grows|bounces", str(source.caption))
    assert not (tmp_path / "clips" / "truth").exists()


def test_pairs_are_the_first_frame_to_control_with_and_the_last_to_train_on(synth, tmp_path: Path):
    synth("--count", 2, "--kind", "pair")
    for index, source in enumerate(sources_of(tmp_path / "clips" / "dataset.toml")):
        shown = [Image.open(path).tobytes() for path in (*source.controls, source.media)]
        scene = describe(0, index)
        drawn = [Image.fromarray(render(scene, time, (64, 48))).tobytes() for time in (0.0, 0.6)]
        assert shown == drawn


def test_a_part_of_a_data_set_has_the_bytes_of_the_whole(synth, tmp_path: Path):
    synth("--count", 4, out="whole")
    synth("--count", 2, "--start", 2, out="part")
    whole, part = content(tmp_path / "whole"), content(tmp_path / "part")
    clips = {name for name in part if name.startswith("clip_")}
    assert {name[:10] for name in clips} == {"clip_00002", "clip_00003"}
    assert all(part[name] == whole[name] for name in clips)


def test_what_is_there_is_kept_and_the_data_set_grows(synth, tmp_path: Path):
    synth("--count", 2)
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "clips").glob("clip_*")}
    (tmp_path / "clips" / "clip_00001.mp4").unlink()
    outcome = synth("--count", 3)
    assert "1 of 3 are there already" in outcome.notices
    kept = tmp_path / "clips" / "clip_00000.mp4"
    assert kept.stat().st_mtime_ns == written[kept]
    assert [source.stem[-1] for source in sources_of(tmp_path / "clips" / "dataset.toml")] == ["0", "1", "2"]
    synth("--count", 3, out="fresh")
    grown, fresh = content(tmp_path / "clips"), content(tmp_path / "fresh")
    assert {**grown, "dataset.toml": b""} == {**fresh, "dataset.toml": b""}


def test_a_killed_run_leaves_no_half_file_and_goes_on(synth, tmp_path: Path):
    words = [*map(str, ("dataset", "synth", "clips", *SMALL, "--count", 40)), "--json"]
    command = [sys.executable, "-c", "import sys; from reelwright.cli.main import main; sys.exit(main())"]
    with subprocess.Popen([*command, *words], cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if json.loads(line)["event"] == "step_done":
                process.send_signal(signal.SIGKILL)
                break
    clips = list((tmp_path / "clips").glob("clip_*.mp4"))
    assert 1 <= len(clips) < 40
    assert all(probe_video(path).num_frames == 7 for path in clips)
    synth("--count", 40)
    synth("--count", 40, out="fresh")
    resumed, fresh = content(tmp_path / "clips"), content(tmp_path / "fresh")
    assert {**resumed, "dataset.toml": b""} == {**fresh, "dataset.toml": b""}


def test_one_run_at_a_time_writes_to_a_folder(synth, tmp_path: Path):
    synth("--count", 1)
    with hold_folder(str(tmp_path / "clips"), "synth"):
        assert "another run is writing to this folder" in synth("--count", 2, code=1).err
    synth("--count", 2)


def test_scenes_of_another_recipe_are_not_mixed_in(synth, tmp_path: Path):
    synth("--count", 1)
    before = content(tmp_path / "clips")
    error = synth("--count", 1, "--seed", 9, "--speed", 0.5, code=2).err
    assert "seed is 0, not 9" in error
    assert "speed is 1.0, not 0.5" in error
    assert content(tmp_path / "clips") == before


def test_a_folder_with_other_files_is_left_alone(synth, tmp_path: Path):
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "holiday.mp4").write_bytes(b"mine")
    assert "holiday.mp4" in synth(code=2).err
    assert content(tmp_path / "clips") == {"holiday.mp4": b"mine"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--width", 63), "width: 63 is odd, and clips need even sides. Use 64."),
        (("--count", 0), "count: 0 is too small. Use 1 or more."),
        (("--fps", 0), "fps: 0.0 is too small. Use more than 0"),
        (("--kind", "vidoe"), "Did you mean video?"),
        (("--max-objects", 4), "max_objects: 4 is too large. Use 3 or less."),
        (("--colour", "red"), "--colour"),
    ],
    ids=lambda value: str(value[0]) if isinstance(value, tuple) else "",
)
def test_bad_values_are_refused_before_anything_is_written(synth, tmp_path: Path, words, said):
    assert said in synth(*words, code=2).err
    assert not (tmp_path / "clips").exists()
