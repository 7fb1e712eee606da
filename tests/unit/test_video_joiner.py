"""Clips joined without decoding them."""

from pathlib import Path

import pytest
import torch

from reelwright.core.errors import FileError
from reelwright.media.video_joiner import join_mp4
from reelwright.media.video_reader import probe_video, read_video
from reelwright.media.video_writer import write_mp4


@pytest.fixture
def parts(tmp_path: Path) -> list[Path]:
    """Two clips of noise, of 12 and of 9 frames."""
    paths = [tmp_path / "a.mp4", tmp_path / "b.mp4"]
    for seed, (path, count) in enumerate(zip(paths, (12, 9), strict=True)):
        generator = torch.Generator().manual_seed(seed)
        frames = torch.randint(0, 255, (count, 48, 64, 3), dtype=torch.uint8, generator=generator)
        write_mp4(path, [frames], fps=30)
    return paths


def test_a_joined_clip_shows_the_frames_of_its_parts_in_their_order(parts, tmp_path):
    join_mp4(tmp_path / "joined.mp4", [parts[1], parts[0], parts[1]])
    first, second = (read_video(path) for path in parts)
    assert torch.equal(read_video(tmp_path / "joined.mp4"), torch.cat([second, first, second]))


def test_a_joined_clip_keeps_the_rate(parts, tmp_path):
    join_mp4(tmp_path / "joined.mp4", parts)
    info = probe_video(tmp_path / "joined.mp4")
    assert (info.fps, info.num_frames) == (pytest.approx(30), 21)


def test_the_same_parts_give_the_same_bytes(parts, tmp_path):
    for name in ("one.mp4", "two.mp4"):
        join_mp4(tmp_path / name, parts)
    assert (tmp_path / "one.mp4").read_bytes() == (tmp_path / "two.mp4").read_bytes()


def test_nothing_is_left_where_a_part_is_no_clip(parts, tmp_path):
    (tmp_path / "broken.mp4").write_bytes(b"no clip")
    with pytest.raises(FileError, match=r"joined\.mp4"):
        join_mp4(tmp_path / "joined.mp4", [parts[0], tmp_path / "broken.mp4"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "b.mp4", "broken.mp4"]


def test_no_parts_are_misuse(tmp_path):
    with pytest.raises(ValueError, match="none to join"):
        join_mp4(tmp_path / "joined.mp4", [])
