"""`reelwright dataset preview`: what is shown is what will be trained on."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from reelwright.data.synthetic.describing import describe
from reelwright.data.synthetic.rendering import render
from reelwright.media.video_reader import probe_video, read_video

RATES = {"framepack": 30.0, "cogvideox": 8.0}


@pytest.fixture
def clips(reelwright, tmp_path: Path) -> Path:
    """Three wide clips of 1.3 seconds, of which a square of 64 pixels is trained on."""
    size = ("--width", 96, "--height", 64, "--num-frames", 40, "--crf", 4)
    assert reelwright("dataset", "synth", "clips", "--count", 3, *size).code == 0
    file = tmp_path / "clips" / "dataset.toml"
    file.write_text(
        re.sub(r"resolution = \[.*?\]", "resolution = [64, 64]", file.read_text(), flags=re.DOTALL)
    )
    return file


@pytest.mark.parametrize("family", RATES)
def test_clips_are_shown_at_the_rate_size_and_length_that_the_family_trains_on(
    reelwright, clips: Path, tmp_path: Path, family: str
):
    outcome = reelwright("dataset", "preview", family, "--dataset", clips, "--view", "video", "--out", "seen")
    assert outcome.code == 0, outcome.err
    paths = sorted((tmp_path / "seen").iterdir())
    assert [path.name for path in paths] == [f"0000{index}_clip_0000{index}.mp4" for index in range(3)]
    for index, path in enumerate(paths):
        info = probe_video(path)
        assert (info.width, info.height, info.fps) == (64, 64, RATES[family])
        assert info.num_frames % 4 == 1
        for number, shown in enumerate(read_video(path)):
            # The frame that is on the screen then, as the source has 30 in a second, and of it the middle.
            time = int(number / RATES[family] * 30 + 1e-6) / 30
            whole = render(describe(0, index), time, (96, 64))
            assert (shown.float() - torch.from_numpy(whole[:, 16:80]).float()).abs().mean() < 8


def test_pages_show_each_clip_in_a_row_with_as_many_frames_as_asked_for(
    reelwright, clips: Path, tmp_path: Path
):
    words = ("--frames", 4, "--rows", 2, "--thumbnail-width", 128, "--out", "seen")
    outcome = reelwright("dataset", "preview", "framepack", "--dataset", clips, *words)
    assert outcome.code == 0, outcome.err
    assert outcome.out == "preview: seen\n"
    pages = [Image.open(path) for path in sorted((tmp_path / "seen").glob("page_*.png"))]
    assert [page.width for page in pages] == [6 + 4 * 134] * 2
    assert pages[0].height == pytest.approx(2 * pages[1].height, abs=64)
    first = np.asarray(pages[0])[6:134, 6:134]
    whole = Image.fromarray(render(describe(0, 0), 0.0, (96, 64))[:, 16:80]).resize((128, 128), 0)
    assert np.abs(first.astype(float) - np.asarray(whole)).mean() < 8


def test_pages_of_a_longer_preview_before_do_not_stay(reelwright, clips: Path, tmp_path: Path):
    preview = ("dataset", "preview", "cogvideox", "--dataset", clips, "--rows", 1, "--out", "seen")
    assert reelwright(*preview).code == 0
    (tmp_path / "seen" / "notes.txt").write_text("mine")
    outcome = reelwright(*preview, "--num-clips", 2)
    assert "there are more clips" in outcome.notices
    left = sorted(path.name for path in (tmp_path / "seen").iterdir())
    assert left == ["notes.txt", "page_000.png", "page_001.png"]


def test_the_terminal_shows_frames_with_their_captions_and_nothing_is_written(
    reelwright, clips: Path, tmp_path: Path
):
    words = ("--view", "console", "--console-width", 40, "--num-clips", 1)
    outcome = reelwright("dataset", "preview", "framepack", "--dataset", clips, *words, "--quiet")
    assert outcome.code == 0, outcome.err
    assert "clip_00000.mp4" in outcome.out
    assert (tmp_path / "clips" / "clip_00000.txt").read_text().split()[0] in outcome.out
    rows = [line for line in outcome.out.splitlines() if "▀" in line]
    assert [line.count("▀") for line in rows] == [40] * 20
    assert not (tmp_path / "preview").exists()


def test_a_clip_that_cannot_be_read_is_listed_and_the_others_are_shown(
    reelwright, clips: Path, tmp_path: Path
):
    (tmp_path / "clips" / "clip_00001.mp4").write_bytes(b"no clip")
    outcome = reelwright(
        "dataset", "preview", "cogvideox", "--dataset", clips, "--view", "video", "--out", "seen"
    )
    assert outcome.code == 1
    assert "clip_00001.mp4" in outcome.err
    assert len(list((tmp_path / "seen").iterdir())) == 2


def test_pairs_are_shown_with_their_controls(reelwright, tmp_path: Path):
    words = ("--kind", "pair", "--count", 1, "--width", 128, "--height", 128)
    assert reelwright("dataset", "synth", "pairs", *words).code == 0
    file = tmp_path / "pairs" / "dataset.toml"
    file.write_text(file.read_text() + "fp_1f_target_index = 9\n")
    outcome = reelwright(
        *("dataset", "preview", "framepack", "--dataset", file, "--mode", "one_frame", "--out", "seen"),
        *("--thumbnail-width", 128),
    )
    assert outcome.code == 0, outcome.err
    page = np.asarray(Image.open(tmp_path / "seen" / "page_000.png"))
    for column, time in ((6, 0.0), (140, 36 / 30)):
        assert np.array_equal(page[6:134, column : column + 128], render(describe(0, 0), time, (128, 128)))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "dataset: is missing"),
        (("--dataset", "nowhere.toml"), "nowhere.toml"),
        (("--view", "sheets"), "Did you mean sheet?"),
        (("--rows", 0), "rows: 0 is too small. Use 1 or more."),
    ],
    ids=["no data set", "no file", "no view", "no rows"],
)
def test_bad_values_are_refused(reelwright, words, said):
    outcome = reelwright("dataset", "preview", "framepack", *words)
    assert outcome.code == 2
    assert said in outcome.err


def test_the_family_comes_first(reelwright):
    outcome = reelwright("dataset", "preview", "--dataset", "data.toml")
    assert outcome.code == 2
    assert "the family comes after preview" in outcome.err


def test_where_no_clip_can_be_shown_it_is_said_why(reelwright, tmp_path: Path):
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.mp4").write_text("hello")
    outcome = reelwright("dataset", "preview", "framepack", "--dataset", "bad", "--out", "seen")
    assert outcome.code == 1
    assert outcome.err.splitlines()[-1].startswith("error: bad/a.mp4: cannot be opened as a video")
    assert outcome.out == ""
    assert not (tmp_path / "seen").exists()
