"""The size each picture or clip is trained at; golden lists from the specs (FramePack 12)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reelwright.core.errors import ConfigError
from reelwright.data.buckets import choose_size, grid_sizes
from reelwright.protocols.clips import ClipRule
from reelwright.protocols.datasets import DatasetConfig

TALL_640 = (
    "320x1280 336x1216 352x1152 368x1104 384x1056 400x1024 416x976 432x944 448x912 464x880 480x848 496x816"
    " 512x800 528x768 544x752 560x720 576x704 592x688 608x672 624x656 640x640"
)
TALL_256 = "128x512 144x448 160x400 176x368 192x336 208x304 224x288 240x272 256x256"
LISTED = ((960, 416), (832, 480), (640, 608), (608, 640), (480, 832), (416, 960))
RULE = ClipRule(fps=30, frame_step=4, default_size=(640, 640), trained_sizes=LISTED)
sizes = st.tuples(st.integers(16, 4000), st.integers(16, 4000))
resolutions = st.tuples(st.integers(16, 1400), st.integers(16, 1400))


def both_ways(text):
    tall = {tuple(map(int, each.split("x"))) for each in text.split()}
    return sorted(tall | {(height, width) for width, height in tall})


@pytest.mark.parametrize(("side", "text", "count"), [(640, TALL_640, 41), (256, TALL_256, 17)])
def test_the_grid_is_the_known_one(side, text, count):
    found = grid_sizes((side, side), 16)
    assert list(found) == both_ways(text)
    assert len(found) == count


@given(resolutions)
def test_a_grid_has_legal_sizes_of_no_more_than_its_area(resolution):
    found = grid_sizes(resolution, 16)
    assert all(width % 16 == height % 16 == 0 and min(width, height) >= 16 for width, height in found)
    assert all(width * height <= resolution[0] * resolution[1] for width, height in found)
    assert {(height, width) for width, height in found} == set(found)


@given(sizes, st.sampled_from([(256, 256), (640, 640), (960, 544)]))
def test_the_size_in_the_grid_is_the_nearest_in_shape_and_the_first_of_two(size, resolution):
    dataset = DatasetConfig(resolution=resolution, enable_bucket=True)
    best, expected = float("inf"), None
    for width, height in sorted(grid_sizes(resolution, 16)):
        distance = abs(width / height - size[0] / size[1])
        if distance < best:
            best, expected = distance, (width, height)
    assert choose_size(size, dataset, RULE) == expected


@given(sizes, st.sampled_from(["grid", "trained", "area"]), resolutions)
def test_without_upscaling_nothing_smaller_is_enlarged(size, kind, resolution):
    dataset = DatasetConfig(
        resolution=resolution, enable_bucket=True, bucket_no_upscale=True, bucket_kind=kind
    )
    found = choose_size(size, dataset, RULE)
    if size[0] * size[1] <= resolution[0] * resolution[1]:
        assert found == (size[0] // 16 * 16, size[1] // 16 * 16)
    else:
        plain = DatasetConfig(resolution=resolution, enable_bucket=True, bucket_kind=kind)
        assert found == choose_size(size, plain, RULE)


@given(sizes, st.sampled_from(["grid", "trained", "area"]), resolutions)
def test_every_size_is_legal(size, kind, resolution):
    dataset = DatasetConfig(resolution=resolution, enable_bucket=True, bucket_kind=kind)
    width, height = choose_size(size, dataset, RULE)
    assert width % 16 == height % 16 == 0 and min(width, height) >= 16


@pytest.mark.parametrize(
    ("resolution", "source", "expected"),
    [
        (None, (1920, 1080), (832, 480)),
        ((640, 640), (1920, 1080), (832, 480)),
        ((960, 416), (1080, 1920), (480, 832)),
        ((640, 640), (1000, 1000), (608, 640)),
        ((320, 320), (1920, 1080), (416, 240)),
        ((1280, 1280), (400, 100), (1920, 832)),
    ],
)
def test_trained_sizes_are_the_list_itself_or_scaled_to_another_area(resolution, source, expected):
    dataset = DatasetConfig(resolution=resolution, enable_bucket=True, bucket_kind="trained")
    assert choose_size(source, dataset, RULE) == expected


def test_a_model_without_a_list_has_no_trained_sizes():
    dataset = DatasetConfig(enable_bucket=True, bucket_kind="trained")
    with pytest.raises(ConfigError, match=r"bucket_kind.*Use grid or area"):
        choose_size((64, 64), dataset, ClipRule(fps=8, frame_step=8, default_size=(720, 480)))


def test_without_buckets_all_get_the_resolution_or_the_size_of_the_model():
    assert choose_size((1920, 1080), DatasetConfig(resolution=(512, 768)), RULE) == (512, 768)
    assert choose_size((1920, 1080), DatasetConfig(), RULE) == (640, 640)


def test_a_resolution_that_is_not_legal_comes_with_the_nearest():
    with pytest.raises(ConfigError, match=r"500 x 333.*Use \[496, 336\]"):
        choose_size((64, 64), DatasetConfig(resolution=(500, 333)), RULE)


def test_sizes_of_an_area_follow_the_shape():
    dataset = DatasetConfig(resolution=(640, 640), enable_bucket=True, bucket_kind="area")
    assert choose_size((1920, 1080), dataset, RULE) == (848, 480)
