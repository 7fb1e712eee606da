"""The causal convolution against torch's own on explicitly padded clips."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from reelwright.nn.causal_conv3d import CausalConv3d, Past, scale_shift_silu
from reelwright.nn.norms import group_norm_affine

CLIP = torch.randn(2, 3, 9, 5, 4, generator=torch.manual_seed(0))


@pytest.fixture(autouse=True)
def same_numbers():
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def layer() -> CausalConv3d:
    torch.manual_seed(1)
    return CausalConv3d(3, 4, 3)


def test_the_first_frame_is_repeated_before_the_clip_and_nothing_follows_it(layer):
    padded = torch.cat([CLIP[:, :, :1], CLIP[:, :, :1], CLIP], dim=2)
    expected = F.conv3d(padded, layer.weight, layer.bias, padding=(0, 1, 1))
    torch.testing.assert_close(layer(CLIP, Past()), expected)


@given(st.lists(st.integers(1, 4), min_size=1, max_size=6), st.booleans())
def test_any_cut_of_a_stream_gives_the_whole_result(lengths, with_gradients):
    torch.manual_seed(2)
    layer = CausalConv3d(3, 4, 3)
    clip = torch.randn(1, 3, sum(lengths), 4, 4, requires_grad=with_gradients)
    with torch.set_grad_enabled(mode=with_gradients):
        whole = layer(clip, Past())
        past = Past()
        parts = [layer(chunk, past) for chunk in clip.split(lengths, dim=2)]
    torch.testing.assert_close(torch.cat(parts, dim=2), whole)


def test_two_streams_do_not_meet(layer):
    first, second = Past(), Past()
    layer(CLIP, first)
    torch.testing.assert_close(layer(CLIP, second), layer(CLIP, Past()))


def test_a_kernel_of_one_frame_needs_no_past():
    pointwise = CausalConv3d(3, 4, 1)
    expected = F.conv3d(CLIP, pointwise.weight, pointwise.bias)
    torch.testing.assert_close(pointwise(CLIP, Past()), expected)


def test_gradients_cross_the_border_of_chunks(layer):
    whole = CLIP.clone().requires_grad_()
    cut = CLIP.clone().requires_grad_()
    layer(whole, Past()).square().sum().backward()
    past = Past()
    torch.cat([layer(chunk, past) for chunk in cut.split([3, 2, 2, 2], dim=2)], 2).square().sum().backward()
    torch.testing.assert_close(cut.grad, whole.grad)


def test_the_input_is_left_alone(layer):
    before = CLIP.clone()
    layer(CLIP, Past())
    assert torch.equal(CLIP, before)


def test_group_norm_is_a_scale_and_a_shift():
    norm = torch.nn.GroupNorm(2, 6, eps=1e-6)
    with torch.no_grad():
        norm.weight.normal_()
        norm.bias.normal_()
    frames = 3 * torch.randn(2, 6, 5, 4, 7) + 10
    scale, shift = group_norm_affine(frames, norm)
    torch.testing.assert_close(frames * scale + shift, norm(frames), atol=3e-5, rtol=0)


def test_group_norm_is_exact_ten_deviations_from_zero():
    """Squares and means cancel from there on: the error grows with the square of that ratio."""
    norm = torch.nn.GroupNorm(1, 1, eps=1e-6)
    frames = torch.randn(1, 1, 4, 64, 64) + 10
    scale, shift = group_norm_affine(frames, norm)
    exact = norm.double()(frames.double())
    torch.testing.assert_close((frames * scale + shift).double(), exact, atol=1e-5, rtol=0)


@pytest.mark.parametrize("rows", [1, 2, 4])
@pytest.mark.parametrize("with_gradients", [False, True])
def test_scale_shift_silu_leaves_room_in_front_and_repeats_rows(rows, with_gradients):
    generator = torch.manual_seed(0)
    frames = torch.randn(1, 2, 3, 4, 5, generator=generator, requires_grad=with_gradients)
    scale, shift = torch.randn(2, 1, 2, 3, rows, 1, 5, generator=generator)
    result = scale_shift_silu(frames, scale, shift, 2)
    assert result.shape == (1, 2, 5, 4, 5)

    def stretched(values: torch.Tensor) -> torch.Tensor:
        return values.squeeze(4).repeat_interleave(4 // rows, dim=3)

    expected = F.silu(frames * stretched(scale) + stretched(shift))
    torch.testing.assert_close(result[:, :, 2:], expected)
    assert result.requires_grad == with_gradients
