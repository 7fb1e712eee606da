"""The released list of sizes and its choice, restated."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reelwright.families.framepack.buckets import TRAINED_SIZES, nearest_trained_size

RELEASED = [
    (416, 960),
    (448, 864),
    (480, 832),
    (512, 768),
    (544, 704),
    (576, 672),
    (608, 640),
    (640, 608),
    (672, 576),
    (704, 544),
    (768, 512),
    (832, 480),
    (864, 448),
    (960, 416),
]
"""Heights and widths, as published."""


def test_the_trained_sizes_are_the_released_list():
    assert [(height, width) for width, height in TRAINED_SIZES] == RELEASED


@given(st.integers(1, 8000), st.integers(1, 8000))
def test_the_choice_is_the_released_one(width, height):
    best, chosen = float("inf"), None
    for bucket_height, bucket_width in RELEASED:
        metric = abs(height * bucket_width - width * bucket_height)
        if metric <= best:
            best, chosen = metric, (bucket_width, bucket_height)
    assert nearest_trained_size((width, height)) == chosen


@pytest.mark.parametrize(
    ("source", "expected"),
    [((1000, 1000), (608, 640)), ((1920, 1080), (832, 480)), ((1080, 1920), (480, 832))],
)
def test_common_shapes(source, expected):
    assert nearest_trained_size(source) == expected
