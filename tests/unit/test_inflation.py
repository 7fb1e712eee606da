"""Inflated autoencoders: pictures stay what they were, frames of clips become pictures."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from reelwright.families.cogvideox.autoencoder import CogVideoXAutoencoder
from reelwright.families.cogvideox.config import AutoencoderConfig as CogVideoXSizes
from reelwright.families.framepack.autoencoder import FramePackAutoencoder
from reelwright.families.framepack.causal_convolution import CausalConvolution, Stream
from reelwright.families.framepack.config import AutoencoderConfig as FramePackSizes
from reelwright.nn.inflation import look_at_the_present

SIZES = {"block_out_channels": (8, 8, 8, 8), "layers_per_block": 1, "norm_num_groups": 4}


def autoencoder(family: str) -> nn.Module:
    torch.manual_seed(0)
    if family == "cogvideox":
        return CogVideoXAutoencoder(CogVideoXSizes(**SIZES)).eval()
    return FramePackAutoencoder(FramePackSizes(**SIZES)).eval()


def copy_of(network: nn.Module, clip: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return network.decode(network.encode(clip).mean)


@pytest.mark.parametrize("num_frames", [1, 5])
@pytest.mark.parametrize("family", ["cogvideox", "framepack"])
def test_pictures_and_clips_in_which_nothing_moves_stay_what_they_were(family, num_frames):
    network = autoencoder(family)
    clip = (torch.rand(1, 3, 1, 32, 32) * 2 - 1).expand(-1, -1, num_frames, -1, -1).contiguous()
    before = copy_of(network, clip)
    look_at_the_present(network)
    torch.testing.assert_close(copy_of(network, clip), before, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("family", ["cogvideox", "framepack"])
def test_no_kernel_looks_back(family):
    network = autoencoder(family)
    sums = {
        name: weight.sum(2)
        for name, weight in network.named_parameters()
        if weight.ndim == 5 and weight.shape[2] == 3
    }
    look_at_the_present(network)
    weights = dict(network.named_parameters())
    assert len(sums) > 10
    for name, total in sums.items():
        assert not weights[name][:, :, :2].any()
        torch.testing.assert_close(weights[name][:, :, 2], total)


def test_a_layer_treats_each_frame_of_a_clip_as_a_picture():
    torch.manual_seed(1)
    layer = CausalConvolution(4, 6)
    clip = torch.randn(1, 4, 5, 8, 8)
    kernel = layer.weight.detach().sum(2)
    look_at_the_present(layer)
    frames = F.pad(clip[0].transpose(0, 1), (1, 1, 1, 1), mode="replicate")
    expected = F.conv2d(frames, kernel, layer.bias).transpose(0, 1)[None]
    torch.testing.assert_close(layer(clip, Stream()), expected, atol=1e-5, rtol=1e-4)
