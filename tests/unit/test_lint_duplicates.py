"""Clips that are there twice, whatever was done to them, and those that only look a little alike."""

import numpy as np
import pytest
from PIL import Image

from reelwright.data.lint.duplicates import near_pairs
from reelwright.data.lint.look import Look
from reelwright.data.lint.roll import Roll
from reelwright.data.lint.watching import watch
from reelwright.data.media_facts import probe
from reelwright.protocols.clips import Source

from .drawn_clips import make_clip
from .drawn_scenes import scene


@pytest.fixture
def rolled(tmp_path):
    """The repetitions among clips: (name, frames, how they are encoded)."""

    def find(*clips):
        with Roll() as roll:
            for name, frames, options in clips:
                path = tmp_path / f"{name}.mp4"
                make_clip(path, frames, **{"fps": 30, **options})
                source = Source(
                    media=str(path), kind="video", stem=name, caption=None, caption_origin="caption"
                )
                facts = probe(source)
                roll.add(source, "cache", facts.content, watch(source, facts))
            return {
                (each.media.rpartition("/")[2], each.original.rpartition("/")[2]): each.is_exact
                for each in roll.repetitions()
            }

    return find


def test_a_clip_of_other_size_bitrate_and_rate_is_the_same_clip(rolled):
    found = rolled(
        ("first", scene(104), {}),
        ("coarse", scene(104), {"options": {"crf": "38"}}),
        ("small", scene(104, size=(96, 72)), {"pixel_format": "yuv420p"}),
        ("slow", scene(104, fps=15.0, num_frames=18), {"fps": 15}),
        ("other", scene(2), {}),
    )
    assert found == {
        ("coarse.mp4", "first.mp4"): False,
        ("small.mp4", "first.mp4"): False,
        ("slow.mp4", "first.mp4"): False,
    }


def test_the_same_file_twice_is_told_as_such(rolled):
    assert rolled(("a", scene(104), {}), ("b", scene(2), {}), ("c", scene(104), {})) == {
        ("c.mp4", "a.mp4"): True
    }


def test_scenes_that_share_a_background_are_not_the_same(rolled):
    still = scene(104)[0]

    def with_square(color, left):
        frames = []
        for number in range(30):
            frame = still.copy()
            frame[40:64, left + number : left + 24 + number] = color
            frames.append(frame)
        return frames

    clips = {
        "red": with_square((220, 30, 30), 20),
        "green": with_square((30, 160, 30), 20),
        "elsewhere": with_square((220, 30, 30), 100),
        "backwards": with_square((220, 30, 30), 20)[::-1],
    }
    assert rolled(*((name, frames, {}) for name, frames in clips.items())) == {}


def test_the_same_scene_mirrored_or_at_another_time_is_another_clip(rolled):
    mirrored = [np.ascontiguousarray(frame[:, ::-1]) for frame in scene(105)]
    later = scene(105, num_frames=90)[60:]
    assert rolled(("a", scene(105), {}), ("b", mirrored, {}), ("c", later, {})) == {}


def test_blank_clips_are_not_told_to_be_the_same(rolled):
    gray = [np.full((120, 160, 3), level, np.uint8) for level in (90, 91)]
    assert rolled(("a", [gray[0]] * 10, {}), ("b", [gray[1]] * 10, {})) == {}


def test_pairs_are_found_among_many_without_comparing_all():
    draw = np.random.default_rng(0)
    hashes = draw.integers(0, 2**64, (20_000, 4), dtype=np.uint64)
    planted = {}
    for number, num_bits in enumerate([0, 3, 9, 15] * 25):
        first, second = 2 * number, 19_999 - number
        flips = np.zeros(4, np.uint64)
        for bit in draw.choice(256, num_bits, replace=False):
            flips[bit // 64] ^= np.uint64(1) << np.uint64(bit % 64)
        hashes[second] = hashes[first] ^ flips
        planted[first, second] = num_bits
    assert set(near_pairs(hashes)) == set(planted)


def test_a_thousand_copies_of_one_clip_are_one_group(tmp_path):
    path = tmp_path / "clip.png"
    Image.fromarray(scene(104)[0]).save(path)
    source = Source(media=str(path), kind="image", stem="clip", caption=None, caption_origin="caption")
    look = watch(source, probe(source))
    with Roll() as roll:
        for number in range(1000):
            copy = Source(media=f"{number}.png", kind="image", stem="s", caption=None, caption_origin="")
            roll.add(copy, "cache", f"content {number}", look)
        found = list(roll.repetitions())
    assert len(found) == 999
    assert {each.original for each in found} == {"0.png"}


def test_one_file_in_two_data_sets_is_meant_so():
    source = Source(media="a.mp4", kind="video", stem="a", caption=None, caption_origin="")
    copy = Source(media="b.mp4", kind="video", stem="b", caption=None, caption_origin="")
    look = Look(size=(64, 64), num_frames=9, duration=1.0)
    with Roll() as roll:
        for folder in ("small", "large"):
            roll.add(source, folder, "content", look)
            roll.add(copy, folder, "content", look)
        assert [each.media for each in roll.repetitions()] == ["b.mp4", "b.mp4"]


def test_items_of_one_stem_are_told_with_the_first_of_them():
    look = Look(size=(64, 64), num_frames=9, duration=1.0)
    with Roll() as roll:
        for media, folder in (("a/x.mp4", "one"), ("b/x.mp4", "one"), ("c/x.mp4", "other")):
            source = Source(media=media, kind="video", stem="x", caption=None, caption_origin="")
            roll.add(source, folder, media, look)
        ((media, finding),) = roll.alike_stems()
    assert (media, finding.kind, finding.severity) == ("b/x.mp4", "name", "error")
    assert "a/x.mp4" in finding.message
