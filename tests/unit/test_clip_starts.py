"""Reading from the middle of a file gives the very pixels of reading it from its beginning."""

import re

import numpy as np
import pytest
import torch

from reelwright.core.errors import FileError
from reelwright.media import container_frames as reader
from reelwright.media.video_reader import stream_video

from .drawn_clips import make_clip

SHORT_GROUPS = {"g": "12", "keyint_min": "12", "sc_threshold": "0", "bf": "3"}
OPEN_GROUPS = {"x264-params": "open-gop=1:keyint=12:bframes=3:b-adapt=0:scenecut=0"}
CLIPS = {
    "b-frames-mp4": (".mp4", {"codec": "libx264", "options": SHORT_GROUPS}),
    "b-frames-mkv": (".mkv", {"codec": "libx264", "options": SHORT_GROUPS}),
    "open-gop-mp4": (".mp4", {"codec": "libx264", "options": OPEN_GROUPS}),
    "open-gop-mkv": (".mkv", {"codec": "libx264", "options": OPEN_GROUPS}),
    "rolling-refresh": (
        ".mp4",
        {"codec": "libx264", "options": {"x264-params": "intra-refresh=1:keyint=12"}},
    ),
    "open-gop-hevc": (
        ".mp4",
        {
            "codec": "libx265",
            "options": {
                "x265-params": "open-gop=1:keyint=12:min-keyint=12:bframes=3:scenecut=0:log-level=none"
            },
        },
    ),
    "vp9": (
        ".webm",
        {"codec": "libvpx-vp9", "options": {"g": "12", "deadline": "realtime", "cpu-used": "8"}},
    ),
    "mpeg4-b": (".mp4", {"codec": "mpeg4", "options": {"g": "12"}, "max_b_frames": 2}),
    "avi": (".avi", {"codec": "mpeg4", "options": {"g": "12"}}),
    "stream": (".ts", {"codec": "libx264", "options": SHORT_GROUPS}),
}
EXACT_SEEKS = (
    "b-frames-mp4",
    "b-frames-mkv",
    "open-gop-mp4",
    "open-gop-mkv",
    "open-gop-hevc",
    "vp9",
    "mpeg4-b",
)
MOMENTS = (0.04, 0.31, 0.6, 0.99, 1.2, 1.61, 1.8, 2.45)


def moving_pictures(count):
    """A textured picture that drifts, so that frames lean on those before and after them."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (12, 16 + count, 3), dtype=np.uint8)
    wide = coarse.repeat(4, axis=0).repeat(4, axis=1)
    return [np.ascontiguousarray(wide[:, 2 * k : 2 * k + 64]) for k in range(count)]


def write(tmp_path, name, **timing):
    suffix, facts = CLIPS[name]
    return make_clip(tmp_path / f"a{suffix}", moving_pictures(50), pixel_format="yuv420p", **facts, **timing)


@pytest.fixture
def jumps(monkeypatch):
    """Whether each reading jumped."""
    made = []
    seek = reader._sought

    def noted(*arguments):
        frames = seek(*arguments)
        made.append(frames is not None)
        return frames

    monkeypatch.setattr(reader, "_sought", noted)
    return made


@pytest.mark.parametrize("name", CLIPS)
def test_any_start_gives_the_same_pixels(tmp_path, name, jumps):
    clip = write(tmp_path, name, fps=20)
    whole = list(stream_video(clip))
    for moment in MOMENTS:
        first = int(moment * 20 + 1e-6)
        found = list(stream_video(clip, start_seconds=moment))
        assert len(found) == 50 - first
        assert all(torch.equal(one, other) for one, other in zip(found, whole[first:], strict=True))
    if name in EXACT_SEEKS:
        assert sum(jumps) >= len(MOMENTS) - 2
    if name in ("avi", "stream"):
        assert not any(jumps)


@pytest.mark.parametrize("name", ["b-frames-mp4", "b-frames-mkv", "open-gop-mkv", "vp9"])
def test_a_variable_rate_gives_the_same_pixels_from_any_start(tmp_path, name, jumps):
    gaps = np.random.default_rng(1).integers(5, 90, 49)
    clip = write(tmp_path, name, milliseconds=[0, *np.cumsum(gaps).tolist()])
    for k in (3, 17, 29, 41):
        resampled = list(stream_video(clip, fps=24))
        found = list(stream_video(clip, fps=24, start_seconds=k / 24))
        assert len(found) == len(resampled) - k
        assert all(torch.equal(one, other) for one, other in zip(found, resampled[k:], strict=True))
    assert sum(jumps) >= 3


def test_a_clip_that_starts_late_is_counted_from_its_first_frame(tmp_path, jumps):
    clip = write(tmp_path, "b-frames-mkv", milliseconds=[7000 + 50 * k for k in range(50)])
    whole = list(stream_video(clip))
    found = list(stream_video(clip, start_seconds=1.5))
    assert all(torch.equal(one, other) for one, other in zip(found, whole[30:], strict=True))
    assert jumps == [True]


def test_a_jump_decodes_only_from_the_nearest_keyframe(tmp_path, monkeypatch):
    clip = write(tmp_path, "b-frames-mp4", fps=20)
    placed = []
    place = reader._Timeline.place
    monkeypatch.setattr(reader._Timeline, "place", lambda *args: placed.append(1) or place(*args))
    next(iter(stream_video(clip, fps=20, start_seconds=2.3)))
    assert len(placed) < 20


def test_a_start_before_the_clip_is_refused(tmp_path):
    with pytest.raises(ValueError, match="start_seconds"):
        next(iter(stream_video(write(tmp_path, "avi", fps=20), start_seconds=-1.0)))


@pytest.mark.parametrize("name", ["b-frames-mp4", "b-frames-mkv"])
def test_damage_behind_the_start_is_told_by_time(tmp_path, name):
    clip = write(tmp_path, name, fps=20)
    content = clip.read_bytes()
    clip.write_bytes(content[: int(len(content) * 0.8)])
    found = []
    with pytest.raises(FileError, match=r"cut short \d\.\d\d s after its first frame") as caught:
        found += stream_video(clip, start_seconds=1.5)
    told = float(re.search(r"short (\S+) s", str(caught.value)).group(1))
    assert 1.5 < told < 2.5
