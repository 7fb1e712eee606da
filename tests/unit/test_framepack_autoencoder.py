"""Promises of the autoencoder that need no reference: streams, refused sizes, forms of a convolution."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reelwright.families.framepack import causal_convolution
from reelwright.families.framepack.autoencoder import FramePackAutoencoder
from reelwright.families.framepack.causal_convolution import CausalConvolution, Stream
from reelwright.families.framepack.config import AutoencoderConfig

CONFIG = AutoencoderConfig(
    block_out_channels=(2, 2, 4, 4), latent_channels=2, layers_per_block=1, norm_num_groups=2
)
PIXELS = torch.rand(1, 3, 25, 16, 8, generator=torch.manual_seed(0), dtype=torch.float64) * 2 - 1
LATENTS = torch.randn(1, 2, 7, 2, 3, generator=torch.manual_seed(0), dtype=torch.float64)


@pytest.fixture(scope="module")
def autoencoder() -> FramePackAutoencoder:
    torch.manual_seed(0)
    return FramePackAutoencoder(CONFIG).double().requires_grad_(requires_grad=False)


@pytest.fixture
def without_norms(monkeypatch):
    """Norms that scale and shift by their weights alone, and so do not see how a clip is cut."""

    def affine(frames_BCFHW: Tensor, norm: nn.GroupNorm, **_: object) -> tuple[Tensor, Tensor]:
        shape = (1, -1, 1, 1, 1)
        return norm.weight.view(shape), norm.bias.view(shape)

    monkeypatch.setattr(causal_convolution, "group_norm_affine", affine)


@pytest.mark.parametrize("with_gradients", [False, True])
@pytest.mark.parametrize("lengths", [[9, 8, 8], [1, 4, 20], [25]])
def test_a_stream_sees_across_its_cuts(autoencoder, without_norms, lengths, with_gradients):
    with torch.set_grad_enabled(mode=with_gradients):
        whole = autoencoder.moments(PIXELS)
        parts = list(autoencoder.encode_stream(PIXELS.split(lengths, dim=2)))
        assert [part.shape[2] for part in parts] == [(length + 3) // 4 for length in lengths]
        torch.testing.assert_close(torch.cat(parts, dim=2), whole)
        latent_lengths = [part.shape[2] for part in parts]
        frames = list(autoencoder.decode_stream(LATENTS.split(latent_lengths, dim=2)))
        assert [part.shape[2] for part in frames] == lengths
        torch.testing.assert_close(torch.cat(frames, dim=2), autoencoder.decode(LATENTS))


def test_a_clip_in_one_chunk_is_exact(autoencoder):
    with torch.no_grad():
        (moments,) = autoencoder.encode_stream([PIXELS])
        assert torch.equal(moments, autoencoder.moments(PIXELS))
        (frames,) = autoencoder.decode_stream([LATENTS])
        assert torch.equal(frames, autoencoder.decode(LATENTS))


def test_later_chunks_of_a_stream_need_no_first_frame(autoencoder):
    (moments,) = autoencoder.encode_stream([PIXELS[:, :, 1:]], first_frame=False)
    (frames,) = autoencoder.decode_stream([LATENTS], first_frame=False)
    assert moments.shape[2] == 6
    assert frames.shape[2] == 28


@pytest.mark.parametrize("shape", [(1, 3, 24, 16, 8), (1, 3, 2, 16, 8), (1, 3, 5, 12, 8), (1, 3, 5, 16, 9)])
def test_clips_that_cannot_be_cut_into_latents_are_refused(autoencoder, shape):
    with pytest.raises(ValueError, match="expected 4k"):
        autoencoder.encode(torch.zeros(shape, dtype=torch.float64))


@pytest.mark.parametrize("strides", [(1, 1, 1), (1, 2, 2), (2, 2, 2)])
def test_a_convolution_pads_with_its_border_and_its_first_frame(strides):
    torch.manual_seed(0)
    layer, clip = CausalConvolution(3, 4, strides).double(), PIXELS
    padded = F.pad(clip, (1, 1, 1, 1, 2, 0), mode="replicate")
    expected = F.conv3d(padded, layer.weight, layer.bias, strides)
    torch.testing.assert_close(layer(clip, Stream()), expected)
    with torch.no_grad():
        for piece in (1, 2, 7):
            torch.testing.assert_close(layer(clip, Stream(piece=piece)), expected)


def test_half_precision_stays_near_float64(autoencoder):
    with torch.no_grad():
        expected = autoencoder.decode(LATENTS)
        for dtype, near in ((torch.float16, 0.01), (torch.bfloat16, 0.1)):
            low = FramePackAutoencoder(CONFIG)
            low.load_state_dict(autoencoder.state_dict())
            decoded = low.to(dtype).decode(LATENTS.to(dtype))
            assert decoded.dtype == dtype
            assert (decoded - expected).std() < near * expected.std()
