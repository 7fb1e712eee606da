"""All forms of a convolution, and their gradients, against torch's conv3d in float64."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from reelwright.nn.volume_convolution import convolve_each, convolve_volume

SMALL, SEVERAL, LARGE = (1, 4, 7, 9, 8), (2, 8, 5, 8, 6), (1, 32, 21, 32, 3)
"""The last takes torch's own kernels for volumes, being of more than 20,480 rows."""


def values(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def assert_like_float64(found: Tensor, expected: Tensor, inputs: list[Tensor], exact: list[Tensor]) -> None:
    assert found.shape == expected.shape
    direction = values(*expected.shape, seed=9)
    gradients = torch.autograd.grad(found, inputs, direction.float())
    for one, other in zip(
        (found, *gradients), (expected, *torch.autograd.grad(expected, exact, direction)), strict=True
    ):
        # torch adds up 20,000 gradients of a bias one after the other, hence not 1e-6.
        assert (one - other).norm() < 1e-5 * other.norm()


def single(exact: list[Tensor], *, innermost: bool) -> list[Tensor]:
    clip, *rest = (tensor.detach().float() for tensor in exact)
    clip = clip.to(memory_format=torch.channels_last_3d) if innermost else clip
    return [tensor.requires_grad_() for tensor in (clip, *rest)]


@pytest.mark.parametrize("innermost", [False, True])
@pytest.mark.parametrize("stride", [(1, 1, 1), (1, 2, 2), (2, 2, 2)])
@pytest.mark.parametrize("shape", [SMALL, SEVERAL, LARGE])
def test_volumes_are_convolved_as_by_torch(shape: tuple[int, ...], stride: tuple[int, ...], innermost: bool):
    exact = [values(*shape, seed=1), values(3, shape[1], 3, 3, 3, seed=2), values(3, seed=3)]
    exact = [tensor.requires_grad_() for tensor in exact]
    inputs = single(exact, innermost=innermost)

    found = convolve_volume(*inputs, stride=stride, padding=1)

    expected = F.conv3d(*exact, stride=stride, padding=(0, 1, 1))
    assert_like_float64(found, expected, inputs, exact)


@pytest.mark.parametrize("innermost", [False, True])
@pytest.mark.parametrize("shape", [SMALL, SEVERAL])
def test_each_frame_is_convolved_as_a_picture(shape: tuple[int, ...], innermost: bool):
    exact = [values(*shape, seed=1), values(5, shape[1], 3, 3, seed=2), values(5, seed=3)]
    exact = [tensor.requires_grad_() for tensor in exact]
    inputs = single(exact, innermost=innermost)

    found = convolve_each(*inputs, stride=2, padding=1)

    frames = [F.conv2d(frame, *exact[1:], stride=2, padding=1) for frame in exact[0].unbind(2)]
    assert_like_float64(found, torch.stack(frames, dim=2), inputs, exact)


@pytest.mark.parametrize("shape", [SMALL, LARGE])
def test_channels_that_lie_innermost_stay_there(shape: tuple[int, ...]):
    clip = values(*shape, seed=1).float().to(memory_format=torch.channels_last_3d)

    assert convolve_volume(clip, torch.zeros(3, shape[1], 3, 3, 3), None).stride(1) == 1
