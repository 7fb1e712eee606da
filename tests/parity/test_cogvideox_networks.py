"""The networks against diffusers' own, with the same random weights and inputs."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from reelwright.execution.tiling import run_tiled
from reelwright.families.cogvideox.conditions import position_conditions
from reelwright.families.cogvideox.config import AutoencoderConfig
from reelwright.families.cogvideox.latent_space import LatentSpace, released_tiling
from reelwright.nn.causal_conv3d import chunk_lengths
from reelwright.nn.posterior import Posterior

from .released import (
    LAYOUTS,
    SMALL_AUTOENCODER,
    largest_error,
    our_velocity,
    reference_autoencoder,
    reference_rotary,
    reference_transformer,
    reference_velocity,
    same_autoencoder,
    same_transformer,
    scatter_norms,
)

BOUND = 1e-5
"""Largest absolute error in float32 of outputs whose elements are of order one."""

EXACT = 1e-12
"""The same in float64, which tells a wrong formula from another order of rounding."""

ROUNDING = 2e-5
"""What float32 costs the decoder: the reference is up to 1.1e-5 from its own float64 results."""

FIRST_GENERATION = [name for name in LAYOUTS if not name.startswith("1.5")]


def transformers_of(layout: str):
    torch.manual_seed(0)
    reference = reference_transformer(LAYOUTS[layout]).eval()
    scatter_norms(reference)
    return same_transformer(reference, LAYOUTS[layout]), reference


def inputs_of(layout: str, grid_THW: tuple[int, int, int]) -> tuple[Tensor, Tensor, Tensor]:
    """Two samples at two timesteps: latents with all their channels, text, timesteps."""
    config = LAYOUTS[layout]
    latents = torch.randn(2, config.in_channels, *grid_THW)
    return latents, torch.randn(2, config.max_text_seq_length, config.text_embed_dim), torch.tensor([17, 801])


def own_grid(layout: str) -> tuple[int, int, int]:
    config = LAYOUTS[layout]
    frames = (config.sample_frames - 1) // 4 + 1
    return frames + frames % (config.patch_size_t or 1), config.sample_height, config.sample_width


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_predicts_what_the_reference_does(layout):
    ours, reference = transformers_of(layout)
    grid = own_grid(layout)
    inputs = inputs_of(layout, grid)
    expected = reference_velocity(reference, *inputs, reference_rotary(reference, grid))
    assert 0.3 < expected.std() < 3
    assert largest_error(our_velocity(ours, *inputs), expected) <= BOUND


@pytest.mark.parametrize("layout", ["2b", "5b", "1.5-5b", "fun-2b-inp"])
@pytest.mark.parametrize("grid", [(2, 8, 12), (4, 4, 6)])
def test_other_sizes_and_lengths_have_the_positions_of_the_reference(layout, grid):
    ours, reference = transformers_of(layout)
    inputs = inputs_of(layout, grid)
    expected = reference_velocity(reference, *inputs, reference_rotary(reference, grid))
    assert largest_error(our_velocity(ours, *inputs), expected) <= BOUND


@pytest.mark.parametrize("grid", [(3, 8, 8), (3, 12, 8), (2, 6, 20)])
def test_released_rotary_grids_of_any_aspect_are_reproduced_on_request(grid):
    ours, reference = transformers_of("5b")
    inputs = inputs_of("5b", grid)
    expected = reference_velocity(reference, *inputs, reference_rotary(reference, grid))
    positions = position_conditions(ours.config, grid, "released")
    assert largest_error(our_velocity(ours, *inputs, positions), expected) <= BOUND


def test_a_shorter_clip_uses_the_first_frames_of_the_learned_table():
    ours, reference = transformers_of("5b-i2v")
    short = replace(LAYOUTS["5b-i2v"], sample_frames=9)
    expected_network = reference_transformer(short).eval()
    state = reference.state_dict()
    table = state["patch_embed.pos_embedding"]
    table[:] = torch.randn_like(table)
    ours.patch_embedding.get_buffer("positions").copy_(table)
    rows = short.max_text_seq_length + 3 * 4 * 6
    expected_network.load_state_dict({**state, "patch_embed.pos_embedding": table[:, :rows]})
    grid = (3, 8, 12)
    inputs = inputs_of("5b-i2v", grid)
    expected = reference_velocity(expected_network, *inputs, reference_rotary(reference, grid))
    assert largest_error(our_velocity(ours, *inputs), expected) <= BOUND


@pytest.mark.parametrize("layout", ["2b", "1.5-5b-i2v"])
def test_gradients_of_a_transformer_are_those_of_the_reference(layout):
    ours, reference = transformers_of(layout)
    grid = own_grid(layout)
    inputs = inputs_of(layout, grid)
    rotary = reference_rotary(reference, grid)
    reference_velocity.__wrapped__(reference, *inputs, rotary).square().mean().backward()
    our_velocity.__wrapped__(ours, *inputs).square().mean().backward()
    pairs = [
        (ours.patch_embedding.projection.weight, reference.patch_embed.proj.weight),
        (ours.blocks[0].norm1.modulation.weight, reference.transformer_blocks[0].norm1.linear.weight),
        (ours.blocks[1].attention.key.weight, reference.transformer_blocks[1].attn1.to_k.weight),
        (ours.time_embedding.linear_1.weight, reference.time_embedding.linear_1.weight),
    ]
    for our_weight, weight in pairs:
        assert weight.grad.abs().max() > 0
        assert largest_error(our_weight.grad, weight.grad) <= BOUND


@pytest.fixture(scope="module")
def autoencoders():
    torch.manual_seed(1)
    reference = reference_autoencoder(SMALL_AUTOENCODER).eval()
    scatter_norms(reference)
    ours = same_autoencoder(reference, SMALL_AUTOENCODER)
    return ours.double().requires_grad_(requires_grad=False), reference.double().requires_grad_(
        requires_grad=False
    )


def pixels_of(num_frames: int, height: int = 32, width: int = 24, batch: int = 1) -> Tensor:
    shape = (batch, 3, num_frames, height, width)
    return torch.rand(shape, generator=torch.manual_seed(num_frames), dtype=torch.float64) * 2 - 1


def latents_of(num_frames: int, height: int = 4, width: int = 3, batch: int = 1) -> Tensor:
    shape = (batch, 4, num_frames, height, width)
    return torch.randn(shape, generator=torch.manual_seed(num_frames), dtype=torch.float64)


def check_encoding(ours, reference, pixels: Tensor, **options):
    posterior, expected = ours.encode(pixels, **options), reference.encode(pixels).latent_dist
    assert largest_error(posterior.mean, expected.mean) <= EXACT
    assert largest_error(posterior.log_variance, expected.logvar) <= EXACT


@pytest.mark.parametrize("num_frames", [1, 9, 17, 25])
def test_clips_with_a_first_frame_encode_and_decode_as_in_the_reference(autoencoders, num_frames):
    ours, reference = autoencoders
    check_encoding(ours, reference, pixels_of(num_frames, batch=2))
    latents = latents_of((num_frames - 1) // 4 + 1, batch=2)
    decoded = ours.decode(latents)
    assert decoded.shape[2] == num_frames
    assert largest_error(decoded, reference.decode(latents).sample) <= EXACT


@pytest.mark.parametrize("num_frames", [1, 9, 17, 33])
def test_single_precision_costs_ours_no_more_than_the_reference(autoencoders, num_frames):
    exact = autoencoders[1]
    ours, reference = (copy.deepcopy(network).float() for network in autoencoders)
    pixels, latents = pixels_of(num_frames), latents_of((num_frames - 1) // 4 + 1)
    moments, frames = exact.encode(pixels).latent_dist.mean, exact.decode(latents).sample
    assert largest_error(ours.encode(pixels.float()).mean, moments) <= BOUND
    assert largest_error(reference.encode(pixels.float()).latent_dist.mean, moments) <= BOUND
    assert largest_error(ours.decode(latents.float()), frames) <= ROUNDING
    assert largest_error(reference.decode(latents.float()).sample, frames) <= ROUNDING


@torch.no_grad()
def test_at_half_the_released_width_single_precision_is_as_exact_as_the_reference():
    """Both against float64: a decoder now and then loses 2e-5 at some pixel, whichever of the two it is."""
    config = AutoencoderConfig(block_out_channels=(64, 128, 128, 256))
    torch.manual_seed(2)
    reference = reference_autoencoder(config).eval()
    ours, exact = same_autoencoder(reference, config), copy.deepcopy(reference).double()
    pixels, latents = torch.rand(1, 3, 9, 64, 64) * 2 - 1, torch.randn(1, 16, 3, 8, 8)

    mean = exact.encode(pixels.double()).latent_dist.mean
    assert largest_error(ours.encode(pixels).mean, mean) <= BOUND
    frames = exact.decode(latents.double()).sample
    lost_by_reference = largest_error(reference.decode(latents).sample, frames)
    assert largest_error(ours.decode(latents), frames) <= max(BOUND, 1.5 * lost_by_reference)


@pytest.mark.parametrize("num_frames", [8, 16, 24])
def test_clips_without_a_first_frame_encode_and_decode_as_in_the_reference(autoencoders, num_frames):
    ours, reference = autoencoders
    check_encoding(ours, reference, pixels_of(num_frames), first_frame=False)
    latents = latents_of(num_frames // 4)
    decoded = ours.decode(latents, first_frame=False)
    assert decoded.shape[2] == num_frames
    assert largest_error(decoded, reference.decode(latents).sample) <= EXACT


@pytest.mark.parametrize("num_frames", [5, 13, 21, 29])
def test_lengths_that_the_reference_decodes_wrongly_keep_their_length(autoencoders, num_frames):
    ours, reference = autoencoders
    # The reference counts these right one way.
    check_encoding(ours, reference, pixels_of(num_frames))
    num_latents = (num_frames - 1) // 4 + 1
    latents = latents_of(num_latents)
    decoded = ours.decode(latents)
    assert decoded.shape[2] == num_frames
    assert reference.decode(latents).sample.shape[2] == num_frames + 3
    told = decoder_told_of_the_first_frame(reference)
    assert largest_error(decoded, told.decode(latents).sample) <= EXACT


def decoder_told_of_the_first_frame(reference):
    """The reference with its one wrong guess corrected: an even first chunk does begin with a lone frame."""
    told = copy.deepcopy(reference)
    upsample = told.decoder.up_blocks[0].upsamplers[0]
    guess, calls = upsample.forward, []

    def forward(hidden: Tensor) -> Tensor:
        calls.append(hidden.shape[2])
        if len(calls) > 1:
            return guess(hidden)
        doubled = F.interpolate(hidden, scale_factor=2.0)[:, :, 1:]
        frames = upsample.conv(doubled.transpose(1, 2).flatten(0, 1))
        return frames.unflatten(0, (1, -1)).transpose(1, 2)

    upsample.forward = forward
    return told


TILED_SIZES = [(64, 64), (96, 80), (48, 56), (88, 40), (88, 72)]


@pytest.fixture(scope="module")
def tiled_reference(autoencoders):
    """Tiles of half the sample size, which is 6 x 5 latents here, overlapping by one."""
    reference = copy.deepcopy(autoencoders[1])
    reference.enable_tiling()
    return reference


@pytest.mark.parametrize(("height", "width"), TILED_SIZES)
def test_tiles_encode_as_in_the_reference(autoencoders, tiled_reference, height, width):
    pixels = pixels_of(9, height, width)
    space = LatentSpace(autoencoder=autoencoders[0], tiling=released_tiling(SMALL_AUTOENCODER))
    posterior, expected = space.encode(pixels), tiled_reference.encode(pixels).latent_dist
    assert largest_error(posterior.mean, expected.mean) <= EXACT
    assert largest_error(posterior.log_variance, expected.logvar) <= EXACT
    assert largest_error(posterior.mean, autoencoders[1].encode(pixels).latent_dist.mean) > 0.01


@pytest.mark.parametrize(("height", "width"), TILED_SIZES)
def test_tiles_decode_as_in_the_reference(autoencoders, tiled_reference, height, width):
    ours = autoencoders[0]
    latents = latents_of(5, height // 8, width // 8)
    chunks = latents.split(chunk_lengths(5, 2), dim=2)
    tiling = released_tiling(SMALL_AUTOENCODER)
    decoded = torch.cat(
        list(run_tiled(ours.decode_stream, chunks, tiling, input_cell=1, output_cell=8)), dim=2
    )
    assert largest_error(decoded, tiled_reference.decode(latents).sample) <= EXACT


def test_decoded_latents_are_divided_by_their_scale_and_become_bytes_as_in_the_reference(
    autoencoders, tiled_reference
):
    ours, reference = autoencoders
    latents = latents_of(3, 8, 8)
    for tiling, expected_network in (
        (None, reference),
        (released_tiling(SMALL_AUTOENCODER), tiled_reference),
    ):
        space = LatentSpace(autoencoder=ours, tiling=tiling)
        frames = torch.cat(list(space.decode(latents * SMALL_AUTOENCODER.scaling_factor)))
        expected = (expected_network.decode(latents).sample / 2 + 0.5).clamp(0, 1) * 255
        assert frames.dtype == torch.uint8
        assert largest_error(frames.float(), expected[0].permute(1, 2, 3, 0)) <= 0.501


def test_a_small_clip_is_not_tiled(autoencoders):
    ours, _ = autoencoders
    tiled = LatentSpace(autoencoder=ours, tiling=released_tiling(SMALL_AUTOENCODER))
    pixels = pixels_of(9)
    assert torch.equal(tiled.encode(pixels).mean, ours.encode(pixels).mean)


def test_a_stream_of_chunks_gives_what_the_whole_call_gives(autoencoders):
    ours, _ = autoencoders
    pixels, latents = pixels_of(25), latents_of(7)
    moments = list(ours.encode_stream(iter(pixels.split([9, 8, 8], dim=2))))
    assert [chunk.shape[2] for chunk in moments] == [3, 2, 2]
    whole = ours.encode(pixels)
    assert torch.equal(Posterior(torch.cat(moments, dim=2)).mean, whole.mean)
    frames = list(ours.decode_stream(iter(latents.split([3, 2, 2], dim=2))))
    assert [chunk.shape[2] for chunk in frames] == [9, 8, 8]
    assert torch.equal(torch.cat(frames, dim=2), ours.decode(latents))


def test_a_whole_clip_in_one_chunk_is_another_function(autoencoders):
    """Group norms see a chunk at a time: the cut is part of the model."""
    ours, reference = autoencoders
    pixels = pixels_of(17)
    whole = copy.deepcopy(reference)
    whole.num_sample_frames_batch_size = 17
    expected = whole.encode(pixels).latent_dist.mean
    space = LatentSpace(autoencoder=ours, whole_clip=True)
    assert largest_error(space.encode(pixels).mean, expected) <= EXACT
    assert largest_error(ours.encode(pixels).mean, expected) > 0.01


def test_later_frames_do_not_change_the_chunks_before_them(autoencoders):
    ours, _ = autoencoders
    pixels, latents = pixels_of(25), latents_of(7)
    changed, moved = pixels.clone(), latents.clone()
    changed[:, :, 17:] = 0
    moved[:, :, 5:] = 0
    assert torch.equal(ours.encode(pixels).mean[:, :, :5], ours.encode(changed).mean[:, :, :5])
    assert torch.equal(ours.decode(latents)[:, :, :17], ours.decode(moved)[:, :, :17])


def gradients_of(networks, call, clip: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
    """The output, the gradient of the input, and those of the first and the last convolution."""
    network = copy.deepcopy(networks).requires_grad_()
    clip = clip.clone().requires_grad_()
    output = call(network, clip)
    output.square().mean().backward()
    ends = [
        network.encoder.conv_in,
        network.encoder.conv_out,
        network.decoder.conv_in,
        network.decoder.conv_out,
    ]
    weights = [getattr(conv, "conv", conv).weight.grad for conv in ends]
    return output.detach(), clip.grad, [weight for weight in weights if weight is not None]


@pytest.mark.parametrize("num_frames", [1, 9, 17])
def test_gradients_flow_through_the_autoencoder_as_through_the_reference(autoencoders, num_frames):
    ours, reference = autoencoders
    pixels, latents = pixels_of(num_frames, 16, 16), latents_of((num_frames - 1) // 4 + 1, 2, 2)
    encoded = gradients_of(ours, lambda network, clip: network.encode(clip).mean, pixels)
    expected = gradients_of(reference, lambda network, clip: network.encode(clip).latent_dist.mean, pixels)
    decoded = gradients_of(ours, lambda network, clip: network.decode(clip), latents)
    expected_frames = gradients_of(reference, lambda network, clip: network.decode(clip).sample, latents)
    for (output, of_input, of_weights), (_, expected_input, expected_weights) in (
        (encoded, expected),
        (decoded, expected_frames),
    ):
        assert output.abs().max() > 0
        assert expected_input.abs().max() > 0
        assert largest_error(of_input, expected_input) <= EXACT
        for weight, expected_weight in zip(of_weights, expected_weights, strict=True):
            assert largest_error(weight, expected_weight) <= EXACT
    # Without gradients other code runs, which writes in place.
    assert largest_error(ours.encode(pixels).mean, encoded[0]) <= EXACT
    assert largest_error(ours.decode(latents), decoded[0]) <= EXACT


def test_encoding_and_decoding_leave_their_input_alone(autoencoders):
    ours, _ = autoencoders
    pixels, latents = pixels_of(9), latents_of(3)
    before = pixels.clone(), latents.clone()
    ours.encode(pixels)
    ours.decode(latents)
    assert torch.equal(pixels, before[0])
    assert torch.equal(latents, before[1])
