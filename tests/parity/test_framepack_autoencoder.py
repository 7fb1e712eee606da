"""HunyuanVideo's autoencoder against the reference, with the same random weights; both see the whole clip."""

import copy
from dataclasses import asdict

import pytest
import torch
from diffusers import AutoencoderKLHunyuanVideo
from torch import Tensor

from reelwright.families.framepack.autoencoder import FramePackAutoencoder
from reelwright.families.framepack.config import AutoencoderConfig
from reelwright.families.framepack.key_maps import RELEASED_AUTOENCODER
from reelwright.families.framepack.latent_space import LatentSpace, square_tiling

SMALL = AutoencoderConfig(
    block_out_channels=(8, 8, 16, 16), latent_channels=4, layers_per_block=1, norm_num_groups=4
)
NUM_FRAMES = (1, 5, 9, 17, 33)
FLOAT64, FLOAT32 = 1e-10, 1e-5
"""Measured: 1e-13 in float64; in float32, where the reference itself is off by 1.5e-5, 4e-6."""


def reference_of(config: AutoencoderConfig) -> AutoencoderKLHunyuanVideo:
    reference = AutoencoderKLHunyuanVideo(**asdict(config)).eval()
    reference.use_framewise_encoding = reference.use_framewise_decoding = False
    return reference


@pytest.fixture(scope="module")
def networks() -> tuple[FramePackAutoencoder, AutoencoderKLHunyuanVideo]:
    """Ours and the reference in float64."""
    torch.manual_seed(0)
    reference, ours = reference_of(SMALL).double(), FramePackAutoencoder(SMALL).double()
    ours.load_state_dict(RELEASED_AUTOENCODER.to_ours(reference.state_dict()))
    return ours.requires_grad_(requires_grad=False), reference.requires_grad_(requires_grad=False)


@pytest.fixture(autouse=True)
def same_numbers():
    torch.manual_seed(1)


def pixels_of(num_frames: int, height: int = 32, width: int = 24) -> Tensor:
    return torch.rand(2, 3, num_frames, height, width, dtype=torch.float64) * 2 - 1


def latents_of(num_frames: int, height: int = 4, width: int = 3) -> Tensor:
    return torch.randn(2, 4, (num_frames - 1) // 4 + 1, height, width, dtype=torch.float64)


def largest_error(actual: Tensor, expected: Tensor) -> float:
    assert actual.shape == expected.shape
    return (actual - expected).abs().max().item()


@pytest.mark.parametrize("num_frames", NUM_FRAMES)
def test_a_clip_is_encoded_as_by_the_reference(networks, num_frames):
    ours, reference = networks
    pixels = pixels_of(num_frames)
    expected = reference.encode(pixels).latent_dist
    for dtype, exact in ((torch.float64, FLOAT64), (torch.float32, FLOAT32)):
        with torch.no_grad():
            posterior = copy.deepcopy(ours).to(dtype).encode(pixels.to(dtype))
        assert posterior.mean.dtype == dtype
        assert largest_error(posterior.mean, expected.mean) <= exact
        assert largest_error(posterior.log_variance, expected.logvar) <= exact


@pytest.mark.parametrize("num_frames", NUM_FRAMES)
def test_a_clip_is_decoded_as_by_the_reference(networks, num_frames):
    ours, reference = networks
    latents = latents_of(num_frames)
    expected = reference.decode(latents).sample
    assert expected.shape[2] == num_frames
    for dtype, exact in ((torch.float64, FLOAT64), (torch.float32, FLOAT32)):
        with torch.no_grad():
            decoded = copy.deepcopy(ours).to(dtype).decode(latents.to(dtype))
        assert decoded.dtype == dtype
        assert largest_error(decoded, expected) <= exact


@pytest.mark.parametrize("chunk", [1, 2, 4, 6, 100])
def test_how_many_frames_a_layer_takes_at_a_time_does_not_matter(networks, chunk):
    ours, _ = networks
    pixels, latents = pixels_of(25), latents_of(25)
    with torch.no_grad():
        assert largest_error(ours.encode(pixels, chunk=chunk).mean, ours.encode(pixels).mean) <= FLOAT64
        assert largest_error(ours.decode(latents, chunk=chunk), ours.decode(latents)) <= FLOAT64


def test_working_in_place_leaves_what_was_given_alone(networks):
    ours, _ = networks
    pixels, latents = pixels_of(9), latents_of(9)
    kept = pixels.clone(), latents.clone()
    with torch.no_grad():
        ours.encode(pixels)
        ours.decode(latents)
    assert torch.equal(pixels, kept[0])
    assert torch.equal(latents, kept[1])


@pytest.mark.parametrize("half", ["encode", "decode"])
def test_gradients_are_those_of_the_reference(networks, half):
    ours, reference = (copy.deepcopy(network).requires_grad_() for network in networks)
    given = pixels_of(9) if half == "encode" else latents_of(9)
    clips = [given.clone().requires_grad_() for _ in range(2)]
    if half == "encode":
        outputs = ours.encode(clips[0]).mean, reference.encode(clips[1]).latent_dist.mean
    else:
        outputs = ours.decode(clips[0]), reference.decode(clips[1]).sample
    weights = torch.randn_like(given).mean() + torch.arange(outputs[0].numel()).view(outputs[0].shape).cos()
    for output in outputs:
        (output * weights).sum().backward()
    assert largest_error(clips[0].grad, clips[1].grad) <= 1e-9
    expected = {
        name: parameter.grad for name, parameter in reference.named_parameters() if parameter.grad is not None
    }
    gradients = {
        name: parameter.grad for name, parameter in ours.named_parameters() if parameter.grad is not None
    }
    mapped = RELEASED_AUTOENCODER.to_ours(expected)
    assert mapped.keys() == gradients.keys()
    for name, gradient in mapped.items():
        assert largest_error(gradients[name], gradient) <= 1e-9 * max(1.0, gradient.abs().max().item()), name


@pytest.mark.parametrize(("height", "width"), [(48, 40), (64, 32), (40, 72)])
def test_tiles_are_those_of_the_reference(networks, height, width):
    ours, reference = networks
    tiled_reference = copy.copy(reference)
    tiled_reference.enable_tiling(
        tile_sample_min_height=32,
        tile_sample_min_width=32,
        tile_sample_stride_height=24,
        tile_sample_stride_width=24,
    )
    space = LatentSpace(autoencoder=ours, tiling=square_tiling(SMALL, 32))
    pixels, latents = pixels_of(5, height, width), latents_of(5, height // 8, width // 8)
    posterior, expected = space.encode(pixels), tiled_reference.encode(pixels).latent_dist
    assert largest_error(posterior.mean, expected.mean) <= FLOAT64
    decoded = space._decode_window(latents * space.scale)
    assert largest_error(decoded, tiled_reference.decode(latents).sample) <= FLOAT64
    assert largest_error(decoded, ours.decode(latents)) > 1e-3


def test_the_released_autoencoder_has_the_names_and_shapes_of_the_reference():
    with torch.device("meta"):
        ours, reference = FramePackAutoencoder(AutoencoderConfig()), reference_of(AutoencoderConfig())
    saved = {
        name: tuple(tensor.shape) for name, tensor in RELEASED_AUTOENCODER.to_file(ours.state_dict()).items()
    }
    assert saved == {name: tuple(tensor.shape) for name, tensor in reference.state_dict().items()}
    assert len(saved) == 248


def test_original_files_have_the_same_names_with_or_without_a_prefix(networks):
    ours, reference = networks
    prefixed = {f"vae.{name}": tensor for name, tensor in reference.state_dict().items()}
    loaded = RELEASED_AUTOENCODER.to_ours(prefixed)
    assert loaded.keys() == ours.state_dict().keys()
    assert all(torch.equal(tensor, ours.state_dict()[name]) for name, tensor in loaded.items())
