"""Clips encoded in parts and passes: how near they come to the clip as a whole, and what they read for it."""

from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from reelwright.execution.tiling import Tiling
from reelwright.families.framepack.cache_encoding import part_lengths
from reelwright.families.framepack.clip_statistics import ClipStatistics
from reelwright.families.framepack.latent_space import LatentSpace
from reelwright.nn.norms import group_norm_affine
from reelwright.protocols.caching import ClipFrames

from .framepack_clips import SCALE, SIDE, autoencoder, clip, dataset, drifting_waves, encoded, encoder, pixels

pytestmark = pytest.mark.usefixtures("small_tiny")
EXACT_AFTER = 15
"""The smallest autoencoder's encoder has 14 norms: each pass makes one more of them exact."""


def night_and_day(num_frames: int, side: int) -> Tensor:
    """A dark half and a bright one: norms that see one of them see another clip."""
    video = 0.2 * drifting_waves(num_frames, side)
    half = num_frames // 2
    return torch.cat([video[:, :, :half] - 0.7, video[:, :, half:] + 0.7], dim=2)


VIDEOS = {"waves": drifting_waves(73, 64), "night and day": night_and_day(73, 64)}


@cache
def mean_of_the_whole(name: str) -> Tensor:
    with torch.no_grad():
        return autoencoder().encode(VIDEOS[name]).mean


def in_passes(video: Tensor, num_passes: int, part: int = 37, **space: Any) -> Tensor:
    parts = video.split(part_lengths(video.shape[2], part), dim=2)
    encode = LatentSpace(autoencoder=autoencoder(), **space).encode_in_passes
    return torch.cat(list(encode(lambda: iter(parts), num_passes)), dim=2)


def error(name: str, num_passes: int, part: int = 37) -> float:
    """Of the mean, in deviations of the latents."""
    whole = mean_of_the_whole(name)
    found = in_passes(VIDEOS[name], num_passes, part).chunk(2, dim=1)[0]
    return float((found - whole).pow(2).mean().sqrt() / whole.std())


@pytest.mark.parametrize(
    ("name", "most"),
    # measured: 0.163, 0.0157, 0.0018, 0.0002 and 0.94, 0.49, 0.051, 0.0040
    [("waves", [0.2, 0.025, 0.004, 0.0005]), ("night and day", [1.2, 0.7, 0.08, 0.01])],
)
def test_each_pass_brings_parts_nearer_to_the_whole_clip(name, most):
    errors = [error(name, num_passes) for num_passes in (1, 2, 3, 4)]
    assert all(found < bound for found, bound in zip(errors, most, strict=True)), errors
    assert errors[1] > 2 * errors[2] > 4 * errors[3]


def test_when_all_norms_are_exact_parts_are_the_whole_clip():
    assert error("night and day", EXACT_AFTER) < 1e-4


def test_many_parts_converge_too():
    assert error("waves", 3, part=9) < 0.2 * error("waves", 1, part=9)


def test_one_pass_is_a_stream_whose_norms_see_one_part():
    video = VIDEOS["waves"]
    stream = LatentSpace(autoencoder=autoencoder()).encode_stream(video.split([37, 36], dim=2))
    assert torch.equal(in_passes(video, 1), torch.cat(list(stream), dim=2))


def test_tiles_have_norms_of_their_own():
    video, tiling = VIDEOS["night and day"], Tiling(height=8, width=4, overlap_height=0, overlap_width=0)
    found = in_passes(video, 3, tiling=tiling)
    sides = [in_passes(video[..., :32], 3), in_passes(video[..., 32:], 3)]
    torch.testing.assert_close(found, torch.cat(sides, dim=4), atol=1e-5, rtol=1e-5)


def test_the_statistics_of_all_parts_are_those_of_the_clip():
    frames = torch.randn(2, 8, 10, 3, 5, generator=torch.manual_seed(0), dtype=torch.float64)
    frames += torch.arange(10).view(1, 1, -1, 1, 1) + 100.0
    norm = nn.GroupNorm(4, 8).double()
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    parts, statistics = frames.split([3, 5, 2], dim=2), ClipStatistics()
    for part in parts:
        statistics.affine(part, norm)
    statistics.start_pass()
    expected = norm(frames).split([3, 5, 2], dim=2)
    for part, normal in zip(parts, expected, strict=True):
        scale, shift = statistics.affine(part, norm)
        torch.testing.assert_close(part * scale + shift, normal)


def test_norms_of_a_first_pass_see_what_came_before():
    frames = torch.randn(1, 4, 9, 3, 5, generator=torch.manual_seed(0), dtype=torch.float64)
    norm, statistics = nn.GroupNorm(2, 4).double(), ClipStatistics()
    first, second = frames[:, :, :5], frames[:, :, 5:]
    assert_equal = torch.testing.assert_close
    assert_equal(statistics.affine(first, norm), group_norm_affine(first, norm))
    assert_equal(statistics.affine(second, norm), group_norm_affine(frames, norm))


@pytest.mark.parametrize(("num_frames", "passes", "readings"), [(73, 3, 3), (73, 1, 1), (37, 3, 1)])
def test_a_clip_is_read_once_for_each_pass_and_once_where_it_is_whole(num_frames, passes, readings):
    asked: list[int] = []

    def chunks():
        asked.append(len(asked))
        return iter(pixels(num_frames).split(8))

    one = ClipFrames(clip=clip(num_frames), dataset=dataset(), chunks=chunks)
    options: dict[str, Any] = {"form": "compact", "posterior": "mean", "stream_frames": 37}
    ((file,),) = encoder(**options, stream_passes=passes).encode([one])
    assert len(asked) == readings
    video = pixels(num_frames).permute(3, 0, 1, 2)[None].float() / 127.5 - 1
    expected = in_passes(video, passes).chunk(2, dim=1)[0][0] * SCALE
    found = file.tensors["clip_latents_float16"]
    assert found.shape == (16, (num_frames + 3) // 4, SIDE // 8, SIDE // 8)
    torch.testing.assert_close(found, expected.half(), atol=2e-3, rtol=1e-3)


def test_three_passes_are_what_long_clips_get():
    made, options = clip(73), {"form": "compact", "posterior": "mean", "stream_frames": 37}
    (default,) = encoded(made, dataset(), **options)
    (three,) = encoded(made, dataset(), **options, stream_passes=3)
    assert torch.equal(default.tensors["clip_latents_float16"], three.tensors["clip_latents_float16"])
