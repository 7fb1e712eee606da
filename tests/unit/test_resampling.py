"""Which frames a rate picks, against a count with fractions."""

from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from reelwright.media.shown_frames import ShownFrame, at_rate, num_resampled_frames, on_screen, shown_from

rates = st.sampled_from([Fraction(24000, 1001), *map(Fraction, (5, 8, 12, 16, 24, 25, 30, 50, 60))])
gaps = st.lists(st.integers(2, 200), min_size=1, max_size=40)
TOLERANCE = Fraction(6, 10_000)


def frames(starts, end):
    ends = [*starts[1:], end]
    return [
        ShownFrame(
            start=float(start), end=float(end), size=(1, 1), pixels=lambda size: np.zeros((1, 1, 3), np.uint8)
        )
        for start, end in zip(starts, ends, strict=True)
    ]


def picked(shown, among):
    return [next(index for index, each in enumerate(among) if each is frame) for frame in shown]


@given(gaps, rates, st.integers(0, 3000))
def test_the_frame_on_screen_is_the_last_that_has_started(gaps, fps, start_ms):
    # Odd tenths of a millisecond: no moment asked for falls on the edge of what counts as started.
    times = [Fraction(0), *(Fraction(10 * total + 1, 10_000) for total in np.cumsum(gaps).tolist())]
    clip, end, start = frames(times[:-1], times[-1]), times[-1], Fraction(start_ms, 1000)
    expected = []
    while (moment := start + Fraction(len(expected)) / fps + TOLERANCE) < end or not (expected or start):
        expected.append(max(n for n, each in enumerate(times[:-1]) if each <= moment))
    assert picked(on_screen(clip, float(fps), float(start)), clip) == expected


@given(st.integers(1, 400), rates, rates)
def test_as_many_frames_come_as_were_counted(count, own, asked):
    clip = frames([n / own for n in range(count)], count / own)
    found = picked(on_screen(clip, float(asked)), clip)
    assert len(found) == num_resampled_frames(float(count / own), float(asked))
    assert found == sorted(found)


@given(st.fractions(Fraction(1, 1000), 100), rates)
def test_the_count_is_that_of_the_moments_before_the_end(duration, fps):
    duration = duration.limit_denominator(1000)
    expected = sum(k / fps + TOLERANCE < duration for k in range(int(duration * fps) + 2))
    assert num_resampled_frames(float(duration), float(fps)) == max(expected, 1)


@given(st.integers(1, 60), rates)
def test_its_own_rate_leaves_a_clip_as_it_is(count, fps):
    clip = frames([n / fps for n in range(count)], count / fps)
    assert picked(on_screen(clip, float(fps)), clip) == list(range(count))


@given(st.integers(1, 60), rates, rates)
def test_a_rate_that_is_told_replaces_all_times(count, told, fps):
    scrambled = frames([Fraction(n * n, 7) for n in range(count)], Fraction(count * count, 7))
    regular = frames([n / told for n in range(count)], count / told)
    timed = [(each.start, each.end) for each in at_rate(scrambled, float(told))]
    assert np.allclose(timed, [(each.start, each.end) for each in regular])


@given(gaps, st.integers(0, 9000))
def test_what_is_shown_from_a_moment_on_is_the_end_of_the_clip(gaps, start_ms):
    times = [Fraction(0), *(Fraction(10 * total + 1, 10_000) for total in np.cumsum(gaps).tolist())]
    clip, start = frames(times[:-1], times[-1]), Fraction(start_ms, 1000)
    expected = [n for n, end in enumerate(times[1:]) if end > start + TOLERANCE or start == 0]
    assert picked(shown_from(clip, float(start)), clip) == expected
