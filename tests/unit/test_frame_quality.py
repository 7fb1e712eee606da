"""Measures of frames against numbers known otherwise."""

import math

import numpy as np
import pytest
import torch
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from reelwright.media.frame_quality import flicker, psnr, ssim


def drawn(seed: int, shape: tuple[int, ...] = (3, 4, 24, 20)) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def windowed(picture: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means of windows of 11 x 11 with Gaussian weights."""
    weights = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    both = np.outer(weights, weights) / weights.sum() ** 2
    return (sliding_window_view(picture, (11, 11)) * both).sum((2, 3))


def test_a_constant_error_has_the_psnr_of_its_size():
    frames = drawn(0) * 0.5
    assert psnr(frames, frames + 0.1) == pytest.approx(20.0, abs=1e-4)
    assert psnr(frames, frames + 0.01) == pytest.approx(40.0, abs=1e-3)
    assert psnr(frames, frames) == 100.0


def test_ssim_is_that_of_gaussian_filters():
    first, second = drawn(1), (drawn(1) + 0.3 * drawn(2)).clamp(0, 1)
    values: list[float] = []
    for one, other in zip(
        first.flatten(0, 1).double().numpy(), second.flatten(0, 1).double().numpy(), strict=True
    ):
        mean_1, mean_2, square_1, square_2, both = (
            windowed(each) for each in (one, other, one * one, other * other, one * other)
        )
        top = (2 * mean_1 * mean_2 + 1e-4) * (2 * (both - mean_1 * mean_2) + 9e-4)
        spread = square_1 - mean_1**2 + square_2 - mean_2**2
        values.append(float((top / ((mean_1**2 + mean_2**2 + 1e-4) * (spread + 9e-4))).mean()))
    assert ssim(first, second) == pytest.approx(float(np.mean(values)), abs=1e-9)
    assert ssim(first, first) == pytest.approx(1.0)


def test_frames_smaller_than_the_window_are_refused():
    with pytest.raises(ValueError, match="smaller than"):
        ssim(drawn(0, (3, 1, 8, 20)), drawn(0, (3, 1, 8, 20)))


def test_flicker_sees_what_changes_and_not_what_is_wrong_all_the_time():
    frames = drawn(3)
    assert flicker(frames, frames + 0.2) == pytest.approx(0.0, abs=1e-7)
    blinking = torch.tensor([0.0, 0.1, 0.0, 0.1]).view(1, 4, 1, 1)
    assert flicker(frames, frames + blinking) == pytest.approx(0.1, abs=1e-7)
    assert flicker(frames[:, :1], frames[:, :1] + 1) == 0.0
    assert math.isfinite(flicker(frames, drawn(4)))
