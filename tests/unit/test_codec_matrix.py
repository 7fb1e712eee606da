"""Real clips in many codecs, containers and rates: the frame at each moment is the one a viewer would see.

The oracle knows only when each numbered frame was meant to appear.
"""

import math
import re
from contextlib import suppress
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from reelwright.core.errors import FileError
from reelwright.media.shown_frames import num_resampled_frames
from reelwright.media.video_reader import probe_video, read_video, stream_video

from .drawn_clips import gray_pictures, make_clip, numbers_in

B_FRAMES = {"options": {"bf": "3", "g": "12"}}
FINE = {"options": {"qmin": "1", "qmax": "1"}}
FORMATS = {
    "h264-mp4": {"suffix": ".mp4", "codec": "libx264", "pixel_format": "yuv420p", **B_FRAMES},
    "h264-mkv": {"suffix": ".mkv", "codec": "libx264", "pixel_format": "yuv420p", **B_FRAMES},
    "h264-10bit-mov": {"suffix": ".mov", "codec": "libx264", "pixel_format": "yuv420p10le", **B_FRAMES},
    "h264-ts": {"suffix": ".ts", "codec": "libx264", "pixel_format": "yuv420p", **B_FRAMES},
    "hevc-mp4": {
        "suffix": ".mp4",
        "codec": "libx265",
        "pixel_format": "yuv420p",
        "options": {"x265-params": "keyint=12:bframes=3:log-level=none"},
    },
    "vp9-webm": {
        "suffix": ".webm",
        "codec": "libvpx-vp9",
        "pixel_format": "yuv420p",
        "options": {"deadline": "realtime", "cpu-used": "8", "crf": "20"},
    },
    "av1-mp4": {
        "suffix": ".mp4",
        "codec": "libsvtav1",
        "pixel_format": "yuv420p",
        "options": {"preset": "12"},
    },
    "mpeg4-avi": {"suffix": ".avi", "codec": "mpeg4", "pixel_format": "yuv420p", **FINE},
    "mpeg4-b-mp4": {
        "suffix": ".mp4",
        "codec": "mpeg4",
        "pixel_format": "yuv420p",
        "options": {"bf": "2", "qmin": "1", "qmax": "1"},
    },
    "prores-mov": {"suffix": ".mov", "codec": "prores_ks", "pixel_format": "yuv422p10le"},
    "ffv1-mkv": {"suffix": ".mkv", "codec": "ffv1", "pixel_format": "yuv444p"},
    "ffv1-alpha-mkv": {"suffix": ".mkv", "codec": "ffv1", "pixel_format": "yuva444p"},
    "mjpeg-avi": {"suffix": ".avi", "codec": "mjpeg", "pixel_format": "yuvj422p"},
    "gif": {"suffix": ".gif", "codec": "gif", "pixel_format": "gray"},
    "apng": {"suffix": ".apng", "codec": "apng", "pixel_format": "rgb24"},
}
RATES = {
    "23.976": Fraction(24000, 1001),
    "24": Fraction(24),
    "25": Fraction(25),
    "30": Fraction(30),
    "50": Fraction(50),
    "60": Fraction(60),
}
GIF_RATES = ("25", "50")
"""A GIF counts hundredths of a second, so other rates are not in its file."""
ASKED = (8, 16, 24, 30)
ROUNDING = Fraction(12, 10_000)
"""Seconds: half of Matroska's millisecond, and what a reader may allow for it."""


def encode(tmp_path, name, pictures, **facts):
    details = dict(FORMATS[name])
    return make_clip(tmp_path / f"clip{details.pop('suffix')}", pictures, **details, **facts)


def assert_shows(found, starts, moments):
    """The frame found at each moment has started, and no later one has; rounding may decide for either."""
    for number, moment in zip(found, moments, strict=True):
        newest = max(n for n, start in enumerate(starts) if start <= moment + ROUNDING)
        surest = max(n for n, start in enumerate(starts) if start <= moment + Fraction(1, 10_000))
        assert surest <= number <= newest, f"at {float(moment):.4f} s"


@pytest.mark.parametrize(
    ("name", "rate"),
    [(name, rate) for name in FORMATS for rate in RATES if name != "gif" or rate in GIF_RATES],
)
def test_every_codec_and_rate_is_resampled_by_time(tmp_path, name, rate):
    own = RATES[rate]
    count = 24 if own < 40 else 48
    try:
        clip = encode(tmp_path, name, gray_pictures(count, 64, 48), fps=own)
    except ValueError:  # includes the errors of FFmpeg for an encoder that is not built in
        pytest.skip(f"{name} cannot be written here")
    info = probe_video(clip)
    assert (info.num_frames, info.width, info.height) == (count, 64, 48)
    assert info.duration == pytest.approx(float(count / own), abs=0.0021)
    assert numbers_in(stream_video(clip)) == list(range(count))
    starts = [n / own for n in range(count)]
    for asked in ASKED:
        found = numbers_in(stream_video(clip, fps=asked))
        assert len(found) == num_resampled_frames(info.duration, asked)
        assert abs(len(found) - count / own * asked) < 1
        assert_shows(found, starts, [Fraction(k, asked) for k in range(len(found))])
    later = numbers_in(stream_video(clip, fps=16, start_seconds=0.4, max_frames=5))
    assert_shows(later, starts, [Fraction(4, 10) + Fraction(k, 16) for k in range(5)])


@pytest.mark.parametrize("name", ["h264-mkv", "h264-mp4", "vp9-webm", "ffv1-mkv"])
@pytest.mark.parametrize("seed", range(3))
def test_a_variable_rate_is_resampled_by_time(tmp_path, name, seed):
    gaps = np.random.default_rng(seed).integers(3, 120, 20)
    times = [0, *np.cumsum(gaps).tolist()]
    clip = encode(tmp_path, name, gray_pictures(21, 64, 48), milliseconds=times)
    starts = [Fraction(time, 1000) for time in times]
    info = probe_video(clip)
    assert info.duration >= starts[-1]
    for asked in ASKED:
        found = numbers_in(stream_video(clip, fps=asked))
        assert len(found) == num_resampled_frames(info.duration, asked)
        assert_shows(found, starts, [Fraction(k, asked) for k in range(len(found))])


@pytest.mark.parametrize("name", ["h264-mp4", "ffv1-mkv", "gif"])
@pytest.mark.parametrize("told", [12.0, 25.0, 40.0])
@pytest.mark.parametrize("asked", [8, 30])
def test_frames_follow_each_other_at_a_rate_that_is_told(tmp_path, name, told, asked):
    clip = encode(tmp_path, name, gray_pictures(20, 64, 48), fps=25)
    found = numbers_in(stream_video(clip, fps=asked, source_fps=told))
    assert len(found) == num_resampled_frames(20 / told, asked)
    starts = [Fraction(n) / Fraction(told) for n in range(20)]
    assert_shows(found, starts, [Fraction(k, asked) for k in range(len(found))])


@pytest.mark.parametrize("name", ["h264-mp4", "hevc-mp4", "prores-mov"])
def test_a_turned_clip_is_upright_wherever_reading_starts(tmp_path, name):
    clip = encode(tmp_path, name, gray_pictures(20, 64, 48), fps=20, rotation=(90,))
    assert (probe_video(clip).width, probe_video(clip).height) == (48, 64)
    for start in (0.0, 0.75):
        video = read_frames(clip, start)
        assert video[0].shape == (64, 48, 3)
        assert numbers_in(video) == list(range(round(start * 20), 20))


@pytest.mark.parametrize(
    ("name", "pixel_format", "size"),
    [
        ("ffv1-mkv", "yuv444p", (63, 47)),
        ("ffv1-mkv", "yuv420p", (63, 47)),
        ("vp9-webm", "yuv420p", (63, 47)),
        ("prores-mov", "yuv422p10le", (63, 47)),
        ("gif", "gray", (33, 21)),
        ("apng", "rgb24", (33, 21)),
    ],
)
def test_odd_sizes_are_kept(tmp_path, name, pixel_format, size):
    details = {**FORMATS[name], "pixel_format": pixel_format}
    clip = make_clip(tmp_path / f"a{details.pop('suffix')}", gray_pictures(5, *size), **details)
    assert (probe_video(clip).width, probe_video(clip).height) == size
    video = read_video(clip)
    assert video.shape[1:] == (size[1], size[0], 3)
    assert numbers_in(video) == list(range(5))


def test_pixels_that_are_not_square_are_made_so_wherever_reading_starts(tmp_path):
    clip = encode(tmp_path, "h264-mp4", gray_pictures(20, 64, 48), fps=20, sample_aspect_ratio=Fraction(4, 3))
    assert {tuple(each.shape) for start in (0.0, 0.7) for each in read_frames(clip, start)} == {(48, 85, 3)}


@pytest.mark.parametrize("kept", [0.35, 0.7])
@pytest.mark.parametrize("name", FORMATS)
def test_what_is_left_of_a_truncated_file_is_right_and_the_end_is_told(tmp_path, name, kept):
    # A transport stream has no stated length: it may end as if that were all.
    tells = name != "h264-ts"
    noise = np.random.default_rng(0).integers(0, 24, (24, 48, 64, 1), dtype=np.uint8)
    pictures = [
        np.clip(gray + grain.astype(int) - 12, 0, 255).astype(np.uint8)
        for gray, grain in zip(gray_pictures(24, 64, 48), noise, strict=True)
    ]
    clip = encode(tmp_path, name, pictures, fps=24)
    content = clip.read_bytes()
    clip.write_bytes(content[: int(len(content) * kept)])
    found = []
    with pytest.raises(FileError, match=re.escape(str(clip))) if tells else suppress(FileError):
        for frame in stream_video(clip):
            found += numbers_in([frame])
    assert len(found) < 24
    # The last may be a torn picture, or lean on one. Those between two others in time come after both.
    steady = found[: -1 if tells else -4]
    assert steady == sorted(set(steady))


@pytest.mark.parametrize("suffix", [".webp", ".apng", ".gif"])
def test_animated_pictures_are_clips_with_their_own_times_and_transparency_over_white(tmp_path, suffix):
    frames = [Image.new("RGBA", (33, 21), (0, 0, 0, 0)) for _ in range(4)]
    for number, image in enumerate(frames):
        image.paste((16 + 40 * number,) * 3 + (255,), (4, 4, 20, 20))
        # Opaque corners: what is transparent then lies within the frames, and not only around them.
        image.paste((0, 0, 0, 255), (0, 0, 1, 1))
        image.paste((0, 0, 0, 255), (32, 20, 33, 21))
    clip = tmp_path / f"a{suffix}"
    options = {"lossless": True} if suffix == ".webp" else {"disposal": 2 if suffix == ".gif" else 1}
    times = [100, 50, 200, 100]
    frames[0].save(clip, save_all=True, append_images=frames[1:], duration=times, **options)
    info = probe_video(clip)
    assert (info.width, info.height, info.num_frames) == (33, 21, 4)
    assert info.duration == pytest.approx(0.45)
    video = read_video(clip, fps=20)
    assert [round((float(each[10, 10, 0]) - 16) / 40) for each in video] == [0, 0, 1, 2, 2, 2, 2, 3, 3]
    assert (video[:, 10, 25] == 255).all()
    later = list(stream_video(clip, fps=20, start_seconds=0.2))
    assert [round((float(each[10, 10, 0]) - 16) / 40) for each in later] == [2, 2, 2, 3, 3]
    small = next(stream_video(clip, size=(11, 7)))
    assert small.shape == (7, 11, 3)


def read_frames(clip, start):
    return list(stream_video(clip, start_seconds=start))


def test_no_frame_is_on_screen_after_the_end(tmp_path):
    clip = encode(tmp_path, "h264-mp4", gray_pictures(20, 64, 48), fps=20)
    assert read_frames(clip, 1.5) == []
    assert list(stream_video(clip, fps=10, start_seconds=math.nextafter(1.0, 2))) == []
    assert numbers_in(stream_video(clip, fps=10, start_seconds=0.95)) == [19]
