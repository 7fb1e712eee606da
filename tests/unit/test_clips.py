"""Clips cut from sources, and their pixels."""

import tarfile
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from reelwright.core.errors import ConfigError, FileError
from reelwright.data.clips import check_settings, cut_clips, read_clip
from reelwright.data.media_facts import probe
from reelwright.media.geometry import cover_crop_box
from reelwright.protocols.clips import ClipRule, MediaFacts, Source
from reelwright.protocols.datasets import DatasetConfig

from .drawn_clips import gray_pictures, level, make_clip, numbers_in

RULE = ClipRule(fps=10, frame_step=4, default_size=(64, 48))
SMALL = {"resolution": (64, 48)}


def source(location, kind="video"):
    return Source(media=str(location), kind=kind, stem="a", caption="", caption_origin="a.txt")


def cut(location, rule=RULE, kind="video", **keys):
    item = source(location, kind)
    return cut_clips(item, probe(item), DatasetConfig(**{**SMALL, **keys}), rule)


def pixels(clip):
    return torch.cat(list(read_clip(clip)))


def facts(**told):
    return MediaFacts(
        **{"size": (64, 48), "num_frames": 100, "fps": 10.0, "duration": 10.0, "content": "", **told}
    )


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({}, [range(37)]),
        ({"max_frames": 20}, [range(17)]),
        ({"target_frames": (9, 25)}, [range(9), range(25)]),
        ({"target_frames": (9,), "frame_extraction": "chunk"}, [range(k, k + 9) for k in (0, 9, 18, 27)]),
        (
            {"target_frames": (33,), "frame_extraction": "slide", "frame_stride": 2},
            [range(k, k + 33) for k in (0, 2, 4, 6)],
        ),
        (
            {"target_frames": (9,), "frame_extraction": "uniform", "frame_sample": 3},
            [range(0, 9), range(15, 24), range(30, 39)],
        ),
        ({"target_frames": (9, 25, 61), "frame_extraction": "longest"}, [range(25)]),
        ({"trim_seconds": 1.0}, [range(10, 27)]),
        ({"target_fps": 5.0}, [range(0, 34, 2)]),
        ({"target_fps": 20.0, "max_frames": 9}, [[0, 0, 1, 1, 2, 2, 3, 3, 4]]),
        ({"source_fps": 20.0}, [range(0, 34, 2)]),
        ({"source_fps": 5.0, "max_frames": 9}, [[0, 0, 1, 1, 2, 2, 3, 3, 4]]),
        (
            {"target_frames": (9,), "frame_extraction": "chunk", "target_fps": 5.0, "trim_seconds": 0.2},
            [range(2, 20, 2), range(20, 38, 2)],
        ),
    ],
)
def test_the_frames_of_each_clip_are_those_asked_for(tmp_path, keys, expected):
    path = make_clip(tmp_path / "a.mp4", gray_pictures(39, 64, 48), options={"g": "8", "bf": "2"})
    found = [numbers_in(pixels(clip)) for clip in cut(path, **keys)]
    assert found == [list(numbers) for numbers in expected]


def test_chunks_are_small_and_hold_exactly_the_frames(tmp_path):
    path = make_clip(tmp_path / "a.mp4", gray_pictures(39, 64, 48))
    (clip,) = cut(path)
    chunks = list(read_clip(clip))
    assert all(chunk.dtype == torch.uint8 and chunk.shape[1:] == (48, 64, 3) for chunk in chunks)
    assert [len(chunk) for chunk in chunks] == [8, 8, 8, 8, 5]


def ball_picture(width, height):
    """A white disc in the middle of the picture."""
    y, x = np.mgrid[:height, :width]
    radius = min(width, height) / 4
    is_ball = (x - width / 2 + 0.5) ** 2 + (y - height / 2 + 0.5) ** 2 < radius**2
    return np.where(is_ball[..., None], 255, 0).astype(np.uint8).repeat(3, axis=-1)


@pytest.mark.parametrize("size", [(160, 96), (96, 160), (128, 128), (50, 38)])
@pytest.mark.parametrize("kind", ["video", "image"])
def test_nothing_is_distorted_and_the_middle_stays_in_the_middle(tmp_path, size, kind):
    picture = ball_picture(*size)
    path = tmp_path / ("a.mkv" if kind == "video" else "a.png")
    if kind == "video":
        make_clip(path, [picture] * 9, codec="ffv1")
    else:
        Image.fromarray(picture).save(path)
    rule = ClipRule(fps=10, frame_step=4, default_size=(64, 64), kinds=("video", "image"))
    (clip,) = cut(path, rule, kind, resolution=(64, 64))
    found = pixels(clip)[0].numpy()[..., 0] > 127
    assert found.shape == (64, 64)
    rows, columns = np.flatnonzero(found.any(1)), np.flatnonzero(found.any(0))
    assert abs(len(rows) - len(columns)) <= 1
    assert abs(len(rows) - 32) <= 2
    assert abs(rows.mean() - 31.5) <= 1 and abs(columns.mean() - 31.5) <= 1


def test_a_turned_clip_with_odd_pixels_is_cut_upright(tmp_path):
    picture = ball_picture(96, 96)[:, ::2]  # twice as wide pixels
    path = make_clip(
        tmp_path / "a.mp4",
        [picture] * 5,
        rotation=(90,),
        sample_aspect_ratio=Fraction(2),
        options={"qp": "0"},
    )
    (clip,) = cut(path, resolution=(64, 64))
    found = pixels(clip)[0].numpy()[..., 0] > 127
    assert abs(int(found.any(0).sum()) - int(found.any(1).sum())) <= 1


def test_a_picture_is_a_clip_of_one_frame(tmp_path):
    Image.new("RGBA", (64, 48), (200, 0, 0, 128)).save(tmp_path / "a.png")
    rule = ClipRule(fps=10, frame_step=4, default_size=(64, 48), kinds=("image",))
    (clip,) = cut(tmp_path / "a.png", rule, "image")
    assert (clip.num_frames, clip.fps, clip.start, clip.size) == (1, 0, 0, (64, 48))
    (chunk,) = read_clip(clip)
    assert chunk.shape == (1, 48, 64, 3)
    assert chunk[0, 0, 0].tolist() == [227, 127, 127]


@pytest.mark.parametrize("zeros", [0, 4])
@pytest.mark.parametrize(
    ("keys", "expected"),
    [({}, range(13)), ({"source_fps": 20.0}, range(0, 10, 2)), ({"trim_seconds": 0.2}, range(2, 11))],
)
def test_a_folder_of_pictures_is_read_by_its_numbers(tmp_path, zeros, keys, expected):
    folder = tmp_path / "shots"
    folder.mkdir()
    for number, picture in enumerate(gray_pictures(13, 64, 48)):
        Image.fromarray(picture).save(folder / f"shot {number:0{zeros}d}.png")
    (clip,) = cut(folder, **keys)
    assert numbers_in(pixels(clip)) == list(expected)


def test_pictures_of_a_folder_must_have_one_size(tmp_path):
    for number in range(5):
        Image.new("RGB", (64, 48 + number // 3)).save(tmp_path / f"{number}.png")
    (clip,) = cut(tmp_path)
    with pytest.raises(FileError, match=r"3\.png: is 64 x 49"):
        pixels(clip)


def test_a_member_of_a_tar_is_read(tmp_path):
    path = make_clip(tmp_path / "a.mp4", gray_pictures(9, 64, 48))
    with tarfile.open(tmp_path / "shard.tar", "w") as shard:
        shard.add(path, "deep/a.mp4")
    (clip,) = cut(f"tar://deep/a.mp4::{tmp_path}/shard.tar")
    assert numbers_in(pixels(clip)) == list(range(9))


@pytest.mark.parametrize(
    ("keys", "rule", "words"),
    [
        ({"target_frames": (41,)}, {}, r"39 frames at 10 fps \(3\.90 s\), and 41 .*add 37 to target_frames"),
        (
            {"trim_seconds": 1.0},
            {"min_frames": 37},
            r"19 frames .*after 1 s are trimmed at both ends, and 37",
        ),
        ({"trim_seconds": 2.0}, {}, "0 frames"),
        ({}, {"min_frames": 41}, r"and 41 \(4\.10 s\) are needed"),
    ],
)
def test_a_clip_that_is_too_short_says_how_long_it_must_be(tmp_path, keys, rule, words):
    path = make_clip(tmp_path / "a.mp4", gray_pictures(39, 64, 48))
    rule = ClipRule(fps=10, frame_step=4, default_size=(64, 48), **rule)
    with pytest.raises(FileError, match=words) as caught:
        cut(path, rule, **keys)
    assert str(caught.value).startswith(f"{path}: is too short")


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"target_frames": (25, 45)}, "target_frames: 25 frames are too few"),
        ({"max_frames": 36}, "max_frames: 33 frames are too few"),
        ({"frame_extraction": "chunk"}, "target_frames: is empty"),
    ],
)
def test_settings_that_the_model_cannot_follow_are_refused(keys, words):
    rule = ClipRule(fps=10, frame_step=4, min_frames=37, default_size=(64, 48))
    with pytest.raises(ConfigError, match=words):
        cut_clips(source("a.mp4"), facts(), DatasetConfig(**keys), rule)
    with pytest.raises(ConfigError, match=f"^videos: {words}"):
        check_settings(DatasetConfig(video_directory="videos", **keys), rule)


def test_settings_are_told_before_any_source_is_looked_at():
    with pytest.raises(ConfigError, match=r"^videos: resolution: 96 x 60 is not in steps of 16 pixels"):
        check_settings(DatasetConfig(video_directory="videos", resolution=(96, 60)), RULE)
    check_settings(DatasetConfig(video_directory="videos", resolution=(96, 64)), RULE)


def test_a_kind_that_the_model_does_not_take_is_refused():
    with pytest.raises(FileError, match=r"a\.png: the model is trained on clips"):
        cut_clips(source("a.png", "image"), facts(num_frames=1), DatasetConfig(), RULE)


def test_a_file_that_holds_less_than_it_told_is_named_with_what_was_read(tmp_path):
    path = make_clip(tmp_path / "a.mp4", gray_pictures(39, 64, 48))
    (clip,) = cut(path)
    make_clip(tmp_path / "a.mp4", gray_pictures(20, 64, 48))
    with pytest.raises(FileError, match=r"a\.mp4: 20 frames could be read of the 37"):
        pixels(clip)


@given(
    st.integers(1, 400),
    st.sampled_from([8.0, 23.976, 24.0, 25.0, 29.97, 30.0, 60.0]),
    st.sampled_from([8, 16, 30]),
    st.sampled_from([0.0, 0.4, 3.0]),
    st.sampled_from(["head", "chunk", "slide", "uniform", "full", "longest"]),
)
def test_clips_are_legal_and_lie_within_what_is_left(count, own, fps, trim, extraction):
    told = facts(num_frames=count, fps=own, duration=count / own)
    lengths = () if extraction == "full" else (9, 33)
    dataset = DatasetConfig(
        target_frames=lengths,
        frame_extraction=extraction,
        trim_seconds=trim,
        target_fps=float(fps),
        frame_sample=4,
    )
    try:
        clips = cut_clips(source("a.mp4"), told, dataset, RULE)
    except FileError:
        seconds = count / own - 2 * trim
        assert seconds <= 0 or seconds < 9 / fps
        return
    assert len({(clip.start, clip.num_frames) for clip in clips}) == len(clips) > 0
    for clip in clips:
        assert clip.num_frames % 4 == 1
        last = clip.trim_seconds + (clip.start + clip.num_frames - 1) / clip.fps
        assert last < count / own - trim


def test_a_long_clip_is_read_a_few_frames_at_a_time(tmp_path):
    picture = np.full((48, 64, 3), level(3), np.uint8)
    path = make_clip(tmp_path / "a.mp4", [picture] * 400, fps=100)
    (clip,) = cut(path, max_frames=401, target_fps=100.0)
    assert max(len(chunk) for chunk in read_clip(clip)) <= 8
    assert cover_crop_box(clip.facts.size, clip.size)[0] == (64, 48)
