import pytest
from hypothesis import given
from hypothesis import strategies as st

from reelwright.media.geometry import (
    FrameRule,
    contain_pad_box,
    cover_crop_box,
    nearest_multiple,
    neighbor_num_frames,
    size_of_area,
    snap_num_frames,
)

sizes = st.tuples(st.integers(1, 5000), st.integers(1, 5000))
steps = st.sampled_from([1, 2, 4, 8, 16, 32])


@given(st.integers(0, 10_000), steps, st.integers(0, 500))
def test_no_multiple_at_or_above_the_minimum_is_closer_than_the_nearest(value, step, minimum):
    legal = [m for m in range(step, 11_000, step) if m >= minimum]
    found = nearest_multiple(value, step, minimum)
    assert found in legal
    assert abs(found - value) == min(abs(m - value) for m in legal)


def test_halfway_between_two_multiples_goes_up():
    assert nearest_multiple(24, 16) == 32
    assert nearest_multiple(0, 16) == 16
    assert nearest_multiple(100, 16, minimum=120) == 128


@given(sizes, sizes)
def test_the_crop_box_has_the_target_size_and_lies_within_the_resized_picture(source, target):
    (width, height), (left, top, right, bottom) = cover_crop_box(source, target)
    assert (right - left, bottom - top) == target
    assert left >= 0 and top >= 0 and right <= width and bottom <= height
    assert width == target[0] or height == target[1]


@given(sizes, sizes)
def test_the_crop_is_centered(source, target):
    (width, height), (left, top, right, bottom) = cover_crop_box(source, target)
    assert 0 <= (width - right) - left <= 1
    assert 0 <= (height - bottom) - top <= 1


@given(sizes, sizes)
def test_cover_cropping_distorts_by_no_more_than_rounding(source, target):
    (width, height), _ = cover_crop_box(source, target)
    scale = max(target[0] / source[0], target[1] / source[1])
    assert abs(width - source[0] * scale) <= 0.5 + 1e-6
    assert abs(height - source[1] * scale) <= 0.5 + 1e-6


@given(sizes, sizes)
def test_the_padded_picture_lies_within_the_target_and_touches_its_edges(source, target):
    (width, height), (left, top, right, bottom) = contain_pad_box(source, target)
    assert (right - left, bottom - top) == (width, height)
    assert left >= 0 and top >= 0 and right <= target[0] and bottom <= target[1]
    assert width == target[0] or height == target[1]


@given(sizes, sizes)
def test_padding_distorts_by_no_more_than_rounding(source, target):
    (width, height), _ = contain_pad_box(source, target)
    scale = min(target[0] / source[0], target[1] / source[1])
    assert abs(width - max(source[0] * scale, 1)) <= 0.5 + 1e-6
    assert abs(height - max(source[1] * scale, 1)) <= 0.5 + 1e-6


@given(sizes)
def test_a_picture_of_the_right_size_is_left_whole(size):
    assert cover_crop_box(size, size) == (size, (0, 0, *size))
    assert contain_pad_box(size, size) == (size, (0, 0, *size))


@given(st.integers(-5, 2000), steps)
def test_no_legal_frame_count_is_closer_than_the_snapped_one(num_frames, step):
    legal = [1 + step * k for k in range(2100 // step)]
    found = snap_num_frames(num_frames, step)
    assert found in legal
    assert abs(found - num_frames) == min(abs(n - num_frames) for n in legal)


@given(st.integers(1, 2000), steps)
def test_the_neighbors_of_a_frame_count_enclose_it(num_frames, step):
    legal = [1 + step * k for k in range(2100 // step)]
    below, above = neighbor_num_frames(num_frames, step)
    assert below == max(n for n in legal if n <= num_frames)
    assert above == min(n for n in legal if n >= num_frames)


@given(st.integers(-3, 200), steps, st.integers(1, 100))
def test_a_rule_allows_exactly_the_counts_up_to_its_maximum(num_frames, step, maximum):
    rule = FrameRule(step=step, maximum=maximum)
    legal = {n for n in range(1, maximum + 1) if (n - 1) % step == 0}
    assert rule.allows(num_frames) == (num_frames in legal)
    assert rule.nearest(num_frames) in legal
    assert (rule.problem(num_frames) is None) == (num_frames in legal)


@pytest.mark.parametrize(
    ("num_frames", "sentence"),
    [
        (50, "50 is more than the model makes. Use 49 or fewer."),
        (44, "44 is not of the form 8k + 1. Use 41 or 49."),
        (0, "0 is not of the form 8k + 1. Use 1."),
    ],
)
def test_a_refused_frame_count_comes_with_what_to_use(num_frames, sentence):
    assert FrameRule(step=8, maximum=49).problem(num_frames) == sentence


@pytest.mark.parametrize(
    ("source", "area", "expected"),
    [
        ((1000, 1000), 640 * 640, (640, 640)),
        ((1920, 1080), 640 * 640, (848, 480)),
        ((1080, 1920), 640 * 640, (480, 848)),
        ((1024, 768), 512 * 512, (592, 432)),
        ((1, 10**6), 640 * 640, (16, 25600)),
        ((10**6, 1), 640 * 640, (25600, 16)),
        ((3, 2), 16 * 16, (16, 16)),
    ],
)
def test_sizes_of_an_area_are_close_to_the_shape(source, area, expected):
    assert size_of_area(source, area, 16) == expected


@given(sizes, st.integers(256, 10**6))
def test_sizes_of_an_area_are_legal_and_no_neighbor_width_is_closer_in_shape(source, area):
    width, height = size_of_area(source, area, 16)
    assert width % 16 == height % 16 == 0
    assert 0 < width * height <= area
    shape = source[0] / source[1]
    ideal = int((area * shape) ** 0.5) // 16 * 16
    for neighbor in range(ideal - 32, ideal + 48, 16):
        if neighbor > 0 and (tallest := area // neighbor // 16 * 16) > 0:
            assert abs(width / height - shape) <= abs(neighbor / tallest - shape)


def test_an_area_below_one_cell_is_refused():
    with pytest.raises(ValueError, match="less than 16 x 16"):
        size_of_area((3, 2), 255, 16)
