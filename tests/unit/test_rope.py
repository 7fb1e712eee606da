"""Rotary positions: what they promise, and against plain 2 x 2 rotations."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reelwright.nn.rope import THETA, append_unturned, rotary_table, rotate

AXES = (4, 6, 6)
places = st.tuples(*[st.floats(0, 20)] * 3)


def table_of(*positions: float) -> torch.Tensor:
    """The rotation of one place."""
    return rotary_table([torch.tensor([position]) for position in positions], AXES)


def heads(seed: int) -> torch.Tensor:
    return torch.randn(1, 1, 2, sum(AXES), generator=torch.manual_seed(seed))


@given(places, st.integers(0, 99))
def test_rotation_keeps_lengths(place, seed):
    query = heads(seed)
    torch.testing.assert_close(rotate(query, table_of(*place)).norm(dim=-1), query.norm(dim=-1))


@given(places, places, st.floats(0, 20), st.integers(0, 99))
def test_products_depend_on_distances_alone(first, second, move, seed):
    query, key = heads(seed), heads(seed + 1)

    def product(offset: float) -> torch.Tensor:
        turned = rotate(query, table_of(*(x + offset for x in first)))
        return (turned * rotate(key, table_of(*(x + offset for x in second)))).sum(-1)

    torch.testing.assert_close(product(0.0), product(move), atol=2e-4, rtol=0)


def test_the_origin_turns_nothing():
    query = heads(0)
    assert torch.equal(rotate(query, table_of(0, 0, 0)), query)


@given(places, st.integers(0, 99))
def test_each_pair_of_channels_turns_by_its_own_angle(place, seed):
    query = heads(seed)
    expected = query.clone()
    channel = 0
    for position, width in zip(place, AXES, strict=True):
        for pair in range(width // 2):
            angle = position * THETA ** (-2 * pair / width)
            a, b = query[..., channel], query[..., channel + 1]
            expected[..., channel] = a * math.cos(angle) - b * math.sin(angle)
            expected[..., channel + 1] = b * math.cos(angle) + a * math.sin(angle)
            channel += 2
    torch.testing.assert_close(rotate(query, table_of(*place)), expected, atol=2e-5, rtol=0)


def test_tokens_are_ordered_by_time_then_row_then_column():
    grid = (2, 3, 4)
    table = rotary_table([torch.arange(count) for count in grid], AXES)
    assert table.shape == (24, 8)
    for token, place in enumerate((t, y, x) for t in range(2) for y in range(3) for x in range(4)):
        torch.testing.assert_close(table[token], table_of(*place)[0])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_formats_are_turned_in_single_precision_and_come_back(dtype):
    query = heads(0).to(dtype)
    table = table_of(19, 13, 7)
    turned = rotate(query, table)
    assert turned.dtype == dtype
    assert torch.equal(turned, rotate(query.float(), table).to(dtype))


@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("grid", [(2, 4, 8), (16, 5, 7), (3, 1, 6)])
def test_pooled_rotations_are_means_over_cubes_with_the_last_places_repeated(count, grid):
    def mean_of(values: torch.Tensor) -> torch.Tensor:
        video = values.T.unflatten(1, grid)[None]
        padding = [pad for size in reversed(grid) for pad in (0, -size % count)]
        padded = torch.nn.functional.pad(video, padding, mode="replicate")
        return torch.nn.functional.avg_pool3d(padded, count).flatten(2)[0].T

    positions = [torch.arange(size) * 1.5 for size in grid]
    whole = rotary_table(positions, AXES)
    pooled = rotary_table(positions, AXES, pooled=count)
    assert len(pooled) == math.prod(-(-size // count) for size in grid)
    torch.testing.assert_close(pooled.real, mean_of(whole.real), atol=1e-6, rtol=0)
    torch.testing.assert_close(pooled.imag, mean_of(whole.imag), atol=1e-6, rtol=0)


def test_a_mean_of_rotations_is_shorter_than_one():
    pooled = rotary_table([torch.arange(4), torch.zeros(1), torch.zeros(1)], AXES, pooled=4)
    assert 0.3 < pooled[0, 0].abs() < 0.5
    torch.testing.assert_close(pooled[0, 2:].abs(), torch.ones(6))


@given(st.integers(1, 12), st.floats(2, 20_000))
def test_frequencies_fall_from_one_by_the_theta_given(position, theta):
    angles = rotary_table([torch.tensor([position])] + [torch.zeros(1)] * 2, AXES, theta=theta)[0, :2]
    expected = torch.polar(torch.ones(2), torch.tensor([position, position / theta**0.5]))
    torch.testing.assert_close(angles, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("shape", [(5,), (2, 1, 5)])
def test_tokens_appended_without_a_place_are_not_turned(shape):
    table = torch.polar(torch.ones(*shape, 8), torch.randn(*shape, 8))
    query = torch.randn(2, 3, 9, 16)
    turned = rotate(query, append_unturned(table, 4))
    assert torch.equal(turned[:, :, 5:], query[:, :, 5:])
    torch.testing.assert_close(turned[:, :, :5], rotate(query[:, :, :5], table))
