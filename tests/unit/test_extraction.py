"""Which stretches are cut out of a clip."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reelwright.data.extraction import chunk, full, head, legal_lengths, longest, slide, uniform

lengths = st.lists(st.integers(1, 200), min_size=1, max_size=4).map(lambda values: legal_lengths(values, 4))
counts = st.integers(0, 300)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (legal_lengths([25, 1, 26, 45, 28], 4), [1, 25, 45]),
        (legal_lengths([49, 50, 8], 8), [1, 49]),
        (head(60, [25, 45, 61]), [(0, 25), (0, 45)]),
        (chunk(60, [25]), [(0, 25), (25, 25)]),
        (chunk(50, [25]), [(0, 25), (25, 25)]),
        (chunk(24, [25]), []),
        (slide(40, [25], 5), [(0, 25), (5, 25), (10, 25), (15, 25)]),
        (slide(39, [25], 5), [(0, 25), (5, 25), (10, 25)]),
        (uniform(40, [25], 4), [(0, 25), (5, 25), (10, 25), (15, 25)]),
        (uniform(35, [25], 4), [(0, 25), (3, 25), (6, 25), (10, 25)]),
        (uniform(60, [25, 45], 1), [(0, 25), (0, 45)]),
        (uniform(26, [25], 5), [(0, 25), (1, 25)]),
        (uniform(24, [25], 5), []),
        (full(200, 129, 4), [(0, 129)]),
        (full(100, 129, 4), [(0, 97)]),
        (full(0, 129, 4), []),
        (longest(60, [25, 45, 61]), [(0, 45)]),
        (longest(24, [25, 45]), []),
    ],
)
def test_golden_stretches(found, expected):
    assert found == expected


@given(st.lists(st.integers(1, 500), min_size=1), st.sampled_from([1, 4, 8, 36]))
def test_lengths_are_legal_and_lose_less_than_a_step(values, step):
    found = legal_lengths(values, step)
    assert all(length % step == 1 % step for length in found)
    assert found == sorted(set(found))
    assert all(any(0 <= value - length < step for length in found) for value in values)


@given(counts, lengths, st.integers(1, 50), st.integers(1, 20))
def test_every_stretch_lies_in_the_clip_and_has_a_length_asked_for(count, lengths, stride, samples):
    for stretches in (
        head(count, lengths),
        chunk(count, lengths),
        slide(count, lengths, stride),
        uniform(count, lengths, samples),
        longest(count, lengths),
    ):
        assert len(stretches) == len(set(stretches))
        assert all(length in lengths and 0 <= start <= count - length for start, length in stretches)
        # A length is cut exactly where the clip is long enough for it.
        if stretches != longest(count, lengths):
            assert {length for _, length in stretches} == {each for each in lengths if each <= count}


@given(counts, st.integers(1, 60))
def test_chunks_follow_each_other_without_gap_and_leave_less_than_one(count, length):
    covered = [frame for start, size in chunk(count, [length]) for frame in range(start, start + size)]
    assert covered == list(range(len(covered)))
    assert 0 <= count - len(covered) < length


@given(counts, st.integers(1, 60), st.integers(1, 50))
def test_slides_are_a_stride_apart_and_none_more_would_fit(count, length, stride):
    starts = [start for start, _ in slide(count, [length], stride)]
    assert starts == [k * stride for k in range(len(starts))]
    assert len(starts) * stride > count - length


@given(st.integers(1, 300), st.integers(1, 60), st.integers(2, 20))
def test_uniform_starts_reach_from_the_beginning_to_the_end(count, length, samples):
    starts = [start for start, _ in uniform(count, [length], samples)]
    if length > count:
        assert starts == []
        return
    assert (starts[0], starts[-1]) == (0, count - length)
    exact = {k * (count - length) / (samples - 1) for k in range(samples)}
    assert all(any(-1e-6 <= each - start < 1 + 1e-6 for each in exact) for start in starts)


@given(counts, st.integers(1, 200), st.sampled_from([1, 4, 8, 36]))
def test_the_whole_clip_loses_less_than_a_step(count, most, step):
    found = full(count, most, step)
    if count == 0:
        assert found == []
        return
    ((start, length),) = found
    assert start == 0 and length % step == 1 % step
    assert 0 <= min(count, most) - length < step
