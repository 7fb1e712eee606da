"""Convolution of tiles against torch's own in double precision."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from reelwright.families.framepack.causal_convolution import CausalConvolution, Stream
from reelwright.nn import winograd
from reelwright.nn.causal_conv3d import CausalConv3d, Past
from reelwright.nn.volume_convolution import convolve_each

CHANNELS_INNERMOST = torch.channels_last_3d


def layer(inputs: int, outputs: int) -> CausalConv3d:
    torch.manual_seed(0)
    return CausalConv3d(inputs, outputs, 3).requires_grad_(requires_grad=False)


def clip(*shape: int) -> torch.Tensor:
    frames = torch.randn(*shape, generator=torch.Generator().manual_seed(1))
    return frames.contiguous(memory_format=CHANNELS_INNERMOST)


def errors(frames: torch.Tensor, conv: CausalConv3d) -> tuple[float, float]:
    """Largest errors of the tiles and of the direct way."""
    assert conv.bias is not None
    exact = F.conv3d(frames.double(), conv.weight.double(), conv.bias.double(), padding=(0, 1, 1))
    tiles = winograd.convolve_tiles(frames, conv.weight, conv.bias)
    direct = F.conv3d(frames, conv.weight, conv.bias, padding=(0, 1, 1))
    assert tiles.shape == exact.shape
    return (tiles - exact).abs().max().item(), (direct - exact).abs().max().item()


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 2), st.integers(3, 6), st.integers(1, 21), st.integers(1, 21))
def test_any_size_of_clip_is_convolved_to_its_edges(batch, frames, height, width):
    found, _ = errors(clip(batch, 33, frames, height, width), layer(33, 40))
    # Rounding comes to 3.3e-6 in some of these sizes; a pixel taken from elsewhere would be off by 0.1.
    assert found < 1e-5


def test_the_result_is_as_exact_as_that_of_the_direct_way_but_for_a_factor():
    found, direct = errors(clip(1, 96, 5, 24, 32), layer(96, 64))
    assert found < 6 * direct


def test_blocks_of_tiles_meet_without_seams(monkeypatch: pytest.MonkeyPatch):
    frames, conv = clip(1, 32, 4, 26, 38), layer(32, 32)
    assert conv.bias is not None
    whole = winograd.convolve_tiles(frames, conv.weight, conv.bias)
    monkeypatch.setattr(winograd, "_BLOCK_TILES", 3)
    monkeypatch.setattr(winograd, "_BLOCK_VALUES", 1)
    in_blocks = winograd.convolve_tiles(frames, conv.weight, conv.bias)
    torch.testing.assert_close(in_blocks, whole, atol=1e-6, rtol=0)


def test_clips_of_a_batch_do_not_touch_each_other():
    frames, conv = clip(2, 32, 4, 9, 9), layer(32, 32)
    assert conv.bias is not None
    both = winograd.convolve_tiles(frames, conv.weight, conv.bias)
    for one, together in zip(frames, both, strict=True):
        assert torch.equal(winograd.convolve_tiles(one[None], conv.weight, conv.bias)[0], together)


def test_it_is_used_only_where_it_is_right():
    frames, conv = clip(1, 32, 4, 8, 8), layer(32, 32)
    assert winograd.is_suited(frames, conv.weight)
    unsuited = {
        "channels apart": (frames.contiguous(), conv.weight),
        "half precision": (frames.bfloat16(), conv.weight.bfloat16()),
        "double precision": (frames.double(), conv.weight.double()),
        "few channels": (frames[:, :16], conv.weight[:, :16]),
        "another kernel": (frames, conv.weight[:, :, :1]),
        "gradients": (frames.clone().requires_grad_(), conv.weight),
        "training": (frames, conv.weight.clone().requires_grad_()),
    }
    assert [reason for reason, pair in unsuited.items() if winograd.is_suited(*pair)] == []
    with torch.no_grad():
        assert winograd.is_suited(*unsuited["training"])


@pytest.mark.parametrize("lengths", [[9], [3, 2, 4], [1] * 9])
def test_a_stream_of_chunks_is_the_whole_clip(lengths):
    frames, conv = clip(1, 32, 9, 8, 12), layer(32, 48)
    expected = conv(frames.contiguous(), Past())
    past = Past()
    parts = [conv(winograd.lay_out(chunk), past) for chunk in frames.split(lengths, dim=2)]
    torch.testing.assert_close(torch.cat(parts, dim=2), expected, atol=3e-6, rtol=0)


@pytest.mark.parametrize("layout", [torch.contiguous_format, CHANNELS_INNERMOST], ids=("apart", "innermost"))
def test_frames_are_convolved_one_by_one_in_any_layout(layout):
    frames = torch.randn(2, 5, 3, 9, 11).contiguous(memory_format=layout)
    kernel, bias = torch.randn(4, 5, 3, 3), torch.randn(4)
    found = convolve_each(frames, kernel, bias, stride=2, padding=1)
    for index in range(3):
        expected = F.conv2d(frames[:, :, index], kernel, bias, stride=2, padding=1)
        torch.testing.assert_close(found[:, :, index], expected, atol=1e-5, rtol=1e-5)


def test_few_channels_are_convolved_as_any_others():
    conv = layer(3, 8)
    for frames in (clip(2, 3, 5, 7, 6), clip(2, 3, 5, 7, 6).contiguous()):
        padded = F.pad(frames, (0, 0, 0, 0, 2, 0))
        padded[:, :, :2] = frames[:, :, :1]
        expected = F.conv3d(padded, conv.weight, conv.bias, padding=(0, 1, 1))
        torch.testing.assert_close(conv(frames, Past()), expected, atol=1e-6, rtol=0)


@settings(max_examples=10, deadline=None)
@given(st.integers(3, 5), st.integers(3, 19), st.integers(3, 19))
def test_frames_that_have_their_border_already_are_convolved_within_it(frames, height, width):
    padded, conv = clip(1, 33, frames, height, width), layer(33, 40)
    assert conv.bias is not None
    exact = F.conv3d(padded.double(), conv.weight.double(), conv.bias.double())
    found = winograd.convolve_tiles(padded, conv.weight, conv.bias, padding=0)
    assert found.shape == exact.shape
    assert (found - exact).abs().max() < 1e-5


@pytest.mark.parametrize("pieces", [0, 2])
def test_an_autoencoder_of_many_channels_convolves_by_tiles_as_directly(monkeypatch, pieces):
    torch.manual_seed(0)
    conv = CausalConvolution(128, 128).requires_grad_(requires_grad=False)
    frames, norm = clip(1, 128, 7, 20, 28), torch.nn.GroupNorm(8, 128)
    sizes: list[int] = []
    convolve = winograd.convolve_tiles

    def noted(padded: torch.Tensor, *others: torch.Tensor, padding: int) -> torch.Tensor:
        sizes.append(padded.shape[2])
        return convolve(padded, *others, padding=padding)

    with torch.no_grad(), monkeypatch.context() as patch:
        patch.setattr(winograd, "convolve_tiles", noted)
        by_tiles = conv(frames.clone(), Stream(piece=pieces), norm)
        patch.setattr(winograd, "is_suited", lambda frames, weight: False)
        exact = conv.double()(frames.double(), Stream(piece=pieces), norm.double())
    assert len(sizes) == (1 if pieces == 0 else 3)
    assert (by_tiles - exact).abs().max() < 1e-5
