"""Saved autoencoders whose latents have mean 0 and deviation 1 in each channel."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from reelwright.families.cogvideox import tiny as cogvideox
from reelwright.families.cogvideox.autoencoder import CogVideoXAutoencoder
from reelwright.families.cogvideox.autoencoder_training import locate_autoencoder as locate_cogvideox
from reelwright.families.framepack import tiny as framepack
from reelwright.families.framepack.autoencoder import FramePackAutoencoder
from reelwright.families.framepack.autoencoder_training import locate_autoencoder as locate_framepack
from reelwright.protocols.autoencoder_train_configs import AutoencoderTrainConfig
from reelwright.workflows.autoencoder_training.latents import balanced_weights, measure_latents

NETWORKS = {
    "cogvideox": (
        locate_cogvideox,
        lambda: CogVideoXAutoencoder(replace(cogvideox.TINY_AUTOENCODER, block_out_channels=(8, 8, 8, 8))),
    ),
    "framepack": (locate_framepack, lambda: FramePackAutoencoder(framepack.TINY_AUTOENCODER)),
}
CHANNELS = 16


@pytest.fixture(params=sorted(NETWORKS))
def network(request: pytest.FixtureRequest) -> tuple[nn.Module, str, str]:
    """A random network with uneven latents, and the names of who writes and who reads them."""
    locate, build = NETWORKS[request.param]
    model = locate(AutoencoderTrainConfig())
    torch.manual_seed(3)
    autoencoder = build().double()
    with torch.no_grad():
        writer = autoencoder.get_submodule(model.latent_writer)
        writer.bias[:CHANNELS] += torch.linspace(-3, 3, CHANNELS)
        writer.weight[:CHANNELS] *= torch.linspace(0.5, 4, CHANNELS).view(-1, 1, 1, 1, 1)
        if request.param == "cogvideox":
            # A reader of one cell, as what lies beyond the border is no latent.
            kernel = autoencoder.decoder.conv_in.weight
            middle = kernel[..., 1:2, 1:2].clone()
            kernel.zero_()
            kernel[..., 1:2, 1:2] = middle
    return autoencoder.float(), model.latent_writer, model.latent_readers


def test_channels_are_alike_and_pixels_are_as_before(network: tuple[nn.Module, str, str]):
    autoencoder, writer, readers = network
    clips = list(torch.randn(4, 1, 3, 5, 32, 32, generator=torch.Generator().manual_seed(1)))
    with torch.no_grad():
        before = [autoencoder.encode(clip) for clip in clips]
        pixels = [autoencoder.decode(each.mean) for each in before]
        spread = measure_latents(autoencoder, clips)
        autoencoder.load_state_dict(
            {
                **autoencoder.state_dict(),
                **balanced_weights(autoencoder.state_dict(), writer, readers, spread),
            }
        )
        after = [autoencoder.encode(clip) for clip in clips]
        latents = torch.cat([each.mean.transpose(0, 1).flatten(1) for each in after], 1)
        assert latents.mean(1).abs().max() < 1e-4
        assert (latents.std(1, correction=0) - 1).abs().max() < 1e-4
        for old, new, picture in zip(before, after, pixels, strict=True):
            torch.testing.assert_close(autoencoder.decode(new.mean), picture, atol=2e-4, rtol=1e-4)
            own = spread.deviation_C.float().view(1, -1, 1, 1, 1)
            expected = torch.exp(0.5 * old.log_variance) / own
            torch.testing.assert_close(torch.exp(0.5 * new.log_variance), expected, atol=1e-5, rtol=1e-4)


def test_the_scale_is_that_of_all_latents_together():
    class Given(nn.Module):
        def encode(self, clip_BCFHW):
            return type("Latents", (), {"mean": clip_BCFHW})

    clips = [torch.randn(1, 3, 2, 4, 4) * 2 + 1, torch.randn(1, 3, 2, 4, 4)]
    together = torch.cat([clip.flatten() for clip in clips]).double()
    scale = measure_latents(Given(), clips).scale
    assert scale == pytest.approx(1 / together.std(correction=0).item(), rel=1e-6)
    assert measure_latents(Given(), [torch.ones(1, 3, 1, 2, 2)]).scale == 1.0
