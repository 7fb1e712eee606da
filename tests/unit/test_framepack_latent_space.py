"""Windows over time and tiles in space, with autoencoders whose answers are known."""

import weakref
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from reelwright.families.framepack.autoencoder import FramePackAutoencoder
from reelwright.families.framepack.config import AutoencoderConfig
from reelwright.families.framepack.latent_space import LatentSpace, square_tiling

CONFIG = AutoencoderConfig()
FADE = 33
OFFICIAL_WINDOWS = {
    4: [(0, 19), (10, 28), (19, 37), (28, 37)],
    6: [(0, 19), (10, 28), (19, 37), (28, 46), (37, 55), (46, 55)],
}
"""By the number of sections (specs: FramePack 12)."""
FORWARD_WINDOWS = [(0, 10), (1, 19), (10, 28), (19, 37)]
"""As the demo of F1 cuts four sections."""


class Clock(torch.nn.Module):
    """An autoencoder whose frames tell when they are, and differ from window to window."""

    spatial_stride, temporal_stride = 8, 4

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.config = SimpleNamespace(scaling_factor=CONFIG.scaling_factor)
        self.decoded: list[weakref.ref[Tensor]] = []
        self.most_alive = 0

    def decode(self, latents_BCTHW: Tensor, *, chunk: int = 0) -> Tensor:
        self.most_alive = max(self.most_alive, sum(frames() is not None for frames in self.decoded))
        first = latents_BCTHW[0, 0, 0, 0, 0].item()
        num_frames = 4 * latents_BCTHW.shape[2] - 3
        values = torch.tensor(frames_of_window(first, num_frames), dtype=torch.float32)
        height, width = (8 * side for side in latents_BCTHW.shape[3:])
        frames = values.view(1, 1, -1, 1, 1).expand(1, 3, num_frames, height, width).clone()
        self.decoded.append(weakref.ref(frames))
        return frames


def frames_of_window(first: float, num_frames: int) -> np.ndarray:
    """Values in [-1, 1] that no two windows agree on."""
    return np.sin(0.37 * np.arange(num_frames) + 2.1 * first)


def numbered_latents(num_latents: int) -> Tensor:
    """Latents that hold their own index, once divided by the scale."""
    latents = torch.arange(num_latents, dtype=torch.float64).view(1, 1, -1, 1, 1).expand(1, 16, -1, 1, 1)
    return latents * CONFIG.scaling_factor


def blended_by_hand(windows: list[tuple[int, int]]) -> np.ndarray:
    """Every window weighed by a trapezoid on the time axis of the whole video."""
    num_frames = 4 * max(stop for _, stop in windows) - 3
    total = np.zeros(num_frames)
    for start, stop in windows:
        frames = frames_of_window(start, 4 * (stop - start) - 3)
        weight = np.ones(len(frames))
        if (start, stop) != windows[0]:
            weight[:FADE] *= np.arange(FADE) / (FADE - 1)
        if (start, stop) != windows[-1]:
            weight[-FADE:] *= 1 - np.arange(FADE) / (FADE - 1)
        total[4 * start : 4 * start + len(frames)] += weight * frames
    return np.round(np.clip(total / 2 + 0.5, 0, 1) * 255)


@pytest.mark.parametrize("windows", [*OFFICIAL_WINDOWS.values(), FORWARD_WINDOWS])
def test_windows_fade_into_each_other_linearly(windows):
    space = LatentSpace(autoencoder=Clock())
    chunks = list(space.decode_windows(numbered_latents(windows[-1][1]), windows, FADE))
    video = torch.cat(chunks)
    assert video.dtype == torch.uint8
    assert video.shape[1:] == (8, 8, 3)
    expected = blended_by_hand(windows)
    assert len(video) == len(expected)
    assert np.abs(video[:, 3, 5, 1].numpy() - expected).max() <= 1
    assert np.mean(video[:, 3, 5, 1].numpy() != expected) < 0.02


@pytest.mark.parametrize(("num_sections", "num_frames"), [(4, 145), (6, 217)])
def test_sections_become_thirty_six_frames_each_and_one(num_sections, num_frames):
    windows = OFFICIAL_WINDOWS[num_sections]
    chunks = LatentSpace(autoencoder=Clock()).decode_windows(
        numbered_latents(windows[-1][1]), windows, fade=FADE
    )
    assert sum(len(chunk) for chunk in chunks) == num_frames == 36 * num_sections + 1


def test_one_latent_is_one_frame():
    (frames,) = LatentSpace(autoencoder=Clock()).decode(numbered_latents(1))
    assert frames.shape == (1, 8, 8, 3)


def test_one_window_is_not_faded():
    frames = torch.cat(list(LatentSpace(autoencoder=Clock()).decode(numbered_latents(5))))
    expected = np.round((frames_of_window(0, 17) / 2 + 0.5) * 255)
    assert np.abs(frames[:, 0, 0, 0].numpy() - expected).max() <= 1


@pytest.mark.parametrize("num_windows", [3, 12])
def test_one_window_is_in_memory_at_a_time(num_windows):
    autoencoder = Clock()
    windows = [(0, 19), *((9 * n + 1, 9 * n + 19) for n in range(1, num_windows))]
    for _ in LatentSpace(autoencoder=autoencoder).decode_windows(
        numbered_latents(windows[-1][1]), windows, FADE
    ):
        pass
    assert len(autoencoder.decoded) == num_windows
    assert autoencoder.most_alive == 0


def test_windows_that_share_another_number_of_frames_are_refused():
    space = LatentSpace(autoencoder=Clock())
    with pytest.raises(ValueError, match=r"\(0, 19\) and \(12, 28\) share 25 frames, expected 33"):
        next(space.decode_windows(numbered_latents(28), [(0, 19), (12, 28)], FADE))


class Patchwork(Clock):
    """Each tile in a gray of its own, black and white in turn: the worst that neighbors can disagree."""

    def decode(self, latents_BCTHW: Tensor, *, chunk: int = 0) -> Tensor:
        self.decoded.append(weakref.ref(latents_BCTHW))
        height, width = (8 * side for side in latents_BCTHW.shape[3:])
        return torch.full((1, 3, 1, height, width), float(-1) ** len(self.decoded))


def test_seams_between_tiles_are_ramps_over_the_overlap():
    space = LatentSpace(autoencoder=Patchwork(), tiling=square_tiling(CONFIG))
    (frame,) = space.decode(torch.zeros(1, 16, 1, 24, 68))
    row = frame[0, 0, :, 0].int()
    assert row.shape == (544,)
    assert row.min() == 0
    assert row.max() == 255
    # From black to white over 64 pixels, a quarter of a tile.
    assert row.diff().abs().max() <= 255 / 64 + 1


def test_tiles_are_256_pixels_and_share_a_quarter():
    tiling = square_tiling(CONFIG)
    assert (tiling.height, tiling.overlap_height) == (32, 8) == (tiling.width, tiling.overlap_width)


def test_what_fits_into_a_tile_is_encoded_whole():
    torch.manual_seed(0)
    autoencoder = FramePackAutoencoder(
        AutoencoderConfig(
            block_out_channels=(2, 2, 4, 4), latent_channels=2, layers_per_block=1, norm_num_groups=2
        )
    )
    pixels = torch.rand(1, 3, 5, 32, 32) * 2 - 1
    plain, tiled = (
        LatentSpace(autoencoder=autoencoder, tiling=tiling)
        for tiling in (None, square_tiling(autoencoder.config, 32))
    )
    assert torch.equal(plain.encode(pixels).mean, tiled.encode(pixels).mean)
    assert not tiled.encode(pixels).mean.requires_grad
