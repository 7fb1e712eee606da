"""The autoencoder's promises: lengths, chunks, and the posterior. Parity is tested with the reference."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Normal, kl_divergence

from reelwright.families.cogvideox.autoencoder import CogVideoXAutoencoder
from reelwright.families.cogvideox.config import AutoencoderConfig
from reelwright.nn.causal_conv3d import chunk_lengths
from reelwright.nn.posterior import Posterior

CONFIG = AutoencoderConfig(
    block_out_channels=(4, 4, 4, 4), latent_channels=2, layers_per_block=1, norm_num_groups=2
)
chunks = st.sampled_from([0, 1, 2, 3, 8])


@pytest.fixture(scope="module")
def autoencoder() -> CogVideoXAutoencoder:
    torch.manual_seed(0)
    return CogVideoXAutoencoder(CONFIG).requires_grad_(requires_grad=False).eval()


@pytest.fixture(autouse=True)
def same_numbers():
    torch.manual_seed(0)


@given(st.integers(1, 500), chunks)
def test_chunks_cover_the_clip_and_all_but_the_first_are_full(total, chunk):
    lengths = chunk_lengths(total, chunk)
    assert sum(lengths) == total
    assert set(lengths[1:]) <= {chunk}
    if chunk and total >= chunk:
        assert chunk <= lengths[0] < 2 * chunk


@pytest.mark.parametrize(
    ("total", "chunk", "expected"),
    [(49, 8, [9, 8, 8, 8, 8, 8]), (13, 2, [3, 2, 2, 2, 2, 2]), (1, 8, [1]), (5, 8, [5]), (49, 0, [49])],
)
def test_clips_are_cut_as_the_released_models_cut_them(total, chunk, expected):
    assert chunk_lengths(total, chunk) == expected


@settings(max_examples=12)
@given(st.integers(0, 6), st.sampled_from([0, 8]))
def test_every_length_of_four_k_and_one_survives_both_ways(autoencoder, k, chunk):
    pixels = torch.randn(1, 3, 4 * k + 1, 16, 8)
    latents = autoencoder.encode(pixels, chunk=chunk).mean
    assert latents.shape == (1, 2, k + 1, 2, 1)
    assert autoencoder.decode(latents, chunk=chunk // 4).shape == pixels.shape


@settings(max_examples=8)
@given(st.integers(1, 5))
def test_every_multiple_of_four_survives_without_a_first_frame(autoencoder, k):
    pixels = torch.randn(1, 3, 4 * k, 8, 8)
    latents = autoencoder.encode(pixels, first_frame=False).mean
    assert latents.shape[2] == k
    assert autoencoder.decode(latents, first_frame=False).shape == pixels.shape


def test_samples_of_a_batch_do_not_meet(autoencoder):
    pixels = torch.randn(3, 3, 9, 16, 16)
    together = autoencoder.encode(pixels).mean
    alone = torch.cat([autoencoder.encode(one[None]).mean for one in pixels])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


def test_strides_are_those_of_the_files():
    with torch.device("meta"):
        autoencoder = CogVideoXAutoencoder(AutoencoderConfig())
    assert (autoencoder.spatial_stride, autoencoder.temporal_stride) == (8, 4)


def moments(mean: torch.Tensor, log_variance: torch.Tensor) -> torch.Tensor:
    return torch.cat([mean, log_variance], dim=1)


def test_divergence_is_that_of_two_gaussians_over_all_dimensions():
    mean, log_variance = torch.randn(2, 2, 3, 2, 4, 5)
    expected = kl_divergence(Normal(mean, (0.5 * log_variance).exp()), Normal(0.0, 1.0)).flatten(1).sum(1)
    torch.testing.assert_close(Posterior(moments(mean, log_variance)).kl_divergence(), expected)


def test_the_unit_gaussian_diverges_from_itself_by_nothing():
    assert Posterior(torch.zeros(1, 4, 1, 2, 2)).kl_divergence().item() == 0.0


def test_samples_have_the_mean_and_the_deviation_of_the_posterior():
    mean, log_variance = torch.full((1, 1, 1, 200, 200), 0.3), torch.full((1, 1, 1, 200, 200), math.log(0.25))
    sample = Posterior(moments(mean, log_variance)).sample(torch.manual_seed(0))
    assert sample.mean().item() == pytest.approx(0.3, abs=0.0125)
    assert sample.std().item() == pytest.approx(0.5, abs=0.01)


def test_the_same_generator_gives_the_same_sample():
    posterior = Posterior(torch.randn(1, 4, 2, 3, 3))
    first, again, other = (posterior.sample(torch.Generator().manual_seed(seed)) for seed in (5, 5, 6))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_log_variances_are_kept_where_exponentials_are_finite():
    log_variance = torch.tensor([-1e3, 0.0, 1e3]).view(1, 1, 3, 1, 1)
    posterior = Posterior(moments(torch.zeros_like(log_variance), log_variance))
    assert posterior.log_variance.flatten().tolist() == [-30.0, 0.0, 20.0]
    assert torch.isfinite(posterior.kl_divergence()).all()
