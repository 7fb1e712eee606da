"""Sinusoidal embeddings against numpy in double precision."""

import numpy
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reelwright.nn.embeddings import ScalarEmbedding, sincos_position_table, sinusoidal_embedding


@given(st.integers(0, 999), st.sampled_from([2, 16, 64, 1920]))
def test_scalars_become_cosines_then_sines_of_falling_frequencies(value, width):
    frequencies = 10_000.0 ** (-numpy.arange(width // 2) / (width // 2))
    expected = numpy.concatenate([numpy.cos(value * frequencies), numpy.sin(value * frequencies)])
    embedding = sinusoidal_embedding(torch.tensor([value]), width)
    assert embedding.dtype == torch.float32
    # float32 knows 999 radians to 3e-5, and frequencies to one part in ten million.
    numpy.testing.assert_allclose(embedding[0].numpy(), expected, atol=3e-4)


def test_every_scalar_of_a_batch_is_embedded_by_itself():
    values = torch.tensor([3.0, 500.0, 2.0])
    together = sinusoidal_embedding(values, 32)
    assert torch.equal(together[1:2], sinusoidal_embedding(values[1:2], 32))


@pytest.mark.parametrize(("spatial_scale", "temporal_scale"), [(1.0, 1.0), (1.875, 1.0), (2.0, 0.5)])
def test_the_table_of_positions_is_time_then_columns_then_rows(spatial_scale, temporal_scale):
    grid, width = (3, 4, 5), 48
    table = sincos_position_table(
        width, grid, spatial_scale=spatial_scale, temporal_scale=temporal_scale
    ).view(*grid, width)

    def waves(position: float, channels: int) -> numpy.ndarray:
        angles = position * 10_000.0 ** (-numpy.arange(channels // 2) / (channels // 2))
        return numpy.concatenate([numpy.sin(angles), numpy.cos(angles)])

    for t, y, x in numpy.ndindex(*grid):
        parts = [
            waves(t / temporal_scale, 12),
            waves(x / spatial_scale, 18),
            waves(y / spatial_scale, 18),
        ]
        numpy.testing.assert_allclose(table[t, y, x].numpy(), numpy.concatenate(parts), atol=1e-6)


def test_a_scalar_embedding_is_two_layers_over_the_sinusoid():
    torch.manual_seed(0)
    embedding = ScalarEmbedding(16, 8)
    values = torch.tensor([1.0, 700.0])
    hidden = sinusoidal_embedding(values, 16) @ embedding.linear_1.weight.T + embedding.linear_1.bias
    hidden = hidden * torch.sigmoid(hidden)
    expected = hidden @ embedding.linear_2.weight.T + embedding.linear_2.bias
    torch.testing.assert_close(embedding(values), expected)


def test_timesteps_keep_their_precision_in_half_formats():
    """In bfloat16 itself 999 and 997 would be one number."""
    embedding = ScalarEmbedding(64, 64).to(torch.bfloat16)
    first, second = embedding(torch.tensor([999, 997]))
    assert first.dtype == torch.bfloat16
    assert not torch.equal(first, second)
