"""Blending of tiles, with streams whose result without tiles is known."""

from collections.abc import Iterable, Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from reelwright.execution.tiling import Tiling, run_tiled
from reelwright.families.cogvideox.config import AutoencoderConfig
from reelwright.families.cogvideox.latent_space import released_tiling

sizes = st.integers(1, 40)
tilings = st.builds(
    lambda height, width, overlap_height, overlap_width: Tiling(
        height=height,
        width=width,
        overlap_height=min(overlap_height, height - 1),
        overlap_width=min(overlap_width, width - 1),
    ),
    st.integers(1, 12),
    st.integers(1, 12),
    st.integers(0, 11),
    st.integers(0, 11),
)


def enlarge(cell: int):
    """Each latent cell as a square of pixels, chunk by chunk."""

    def run(chunks: Iterable[Tensor]) -> Iterator[Tensor]:
        for chunk in chunks:
            yield chunk.repeat_interleave(cell, dim=3).repeat_interleave(cell, dim=4)

    return run


def reduce(cell: int):
    """Each square of pixels as its mean."""

    def run(chunks: Iterable[Tensor]) -> Iterator[Tensor]:
        for chunk in chunks:
            yield chunk.unflatten(4, (-1, cell)).unflatten(3, (-1, cell)).mean(dim=(4, 6))

    return run


@given(sizes, sizes, tilings)
def test_what_does_not_depend_on_its_neighbors_is_decoded_as_without_tiles(height, width, tiling):
    latents = torch.randn(1, 2, 3, height, width, dtype=torch.float64)
    whole = torch.cat(list(enlarge(4)([latents])))
    (tiled,) = run_tiled(enlarge(4), [latents], tiling, input_cell=1, output_cell=4)
    torch.testing.assert_close(tiled, whole)


@given(sizes, sizes, tilings)
def test_what_does_not_depend_on_its_neighbors_is_encoded_as_without_tiles(height, width, tiling):
    pixels = torch.randn(1, 2, 3, 4 * height, 4 * width, dtype=torch.float64)
    whole = torch.cat(list(reduce(4)([pixels])))
    (tiled,) = run_tiled(reduce(4), [pixels], tiling, input_cell=4, output_cell=1)
    assert tiled.shape == (1, 2, 3, height, width)
    torch.testing.assert_close(tiled, whole)


@given(sizes, sizes, tilings, st.floats(-5, 5))
def test_constant_pictures_stay_exactly_constant(height, width, tiling, value):
    latents = torch.full((1, 1, 1, height, width), value, dtype=torch.float64)
    (tiled,) = run_tiled(enlarge(2), [latents], tiling, input_cell=1, output_cell=2)
    assert tiled.shape == (1, 1, 1, 2 * height, 2 * width)
    torch.testing.assert_close(tiled, torch.full_like(tiled, value), atol=1e-12, rtol=0)


def test_ramps_stay_exact():
    ramp = torch.linspace(0, 1, 35, dtype=torch.float64).expand(1, 1, 1, 20, 35)
    tiling = Tiling(height=8, width=9, overlap_height=3, overlap_width=4)
    for picture in (ramp, ramp.transpose(3, 4).contiguous()):
        (tiled,) = run_tiled(enlarge(1), [picture], tiling, input_cell=1, output_cell=1)
        torch.testing.assert_close(tiled, picture)


def test_neighbors_that_disagree_are_mixed_linearly_over_the_overlap():
    tiling = Tiling(height=1, width=6, overlap_height=0, overlap_width=4)
    numbers = iter(range(10))

    def numbered(chunks: Iterable[Tensor]) -> Iterator[Tensor]:
        number = float(next(numbers))
        for chunk in chunks:
            yield torch.full_like(chunk, number)

    (tiled,) = run_tiled(numbered, [torch.zeros(1, 1, 1, 1, 8)], tiling, input_cell=1, output_cell=1)
    # Tiles start at 0, 2, 4 and 6. The second fades in over columns 2 to 5, of which its own two are kept.
    assert tiled.flatten().tolist()[:4] == [0.0, 0.0, 0.0, 0.25]


@given(sizes, sizes, tilings)
def test_every_pixel_is_an_average_of_tiles_whose_weights_sum_to_one(height, width, tiling):
    """Tiles answer with random constants: nothing leaves their range, and complements stay complements."""
    generator = torch.Generator().manual_seed(0)
    values = torch.rand(2000, generator=generator, dtype=torch.float64)

    def run_with(values: Tensor) -> Tensor:
        remaining = iter(values)

        def constant(chunks: Iterable[Tensor]) -> Iterator[Tensor]:
            value = next(remaining)
            for chunk in chunks:
                yield torch.zeros_like(chunk) + value

        picture = torch.zeros(1, 1, 1, height, width, dtype=torch.float64)
        (tiled,) = run_tiled(constant, [picture], tiling, input_cell=1, output_cell=1)
        return tiled

    tiled = run_with(values)
    assert tiled.min() >= 0
    assert tiled.max() <= 1
    torch.testing.assert_close(run_with(1 - values), 1 - tiled)


def test_each_tile_keeps_its_own_stream_over_time():
    seen: list[list[int]] = []

    def counting(chunks: Iterable[Tensor]) -> Iterator[Tensor]:
        history: list[int] = []
        seen.append(history)
        for chunk in chunks:
            history.append(chunk.shape[2])
            yield chunk + len(history)

    chunks = [torch.zeros(1, 1, frames, 8, 4) for frames in (3, 2, 2)]
    tiling = Tiling(height=4, width=4, overlap_height=1, overlap_width=0)
    results = list(run_tiled(counting, iter(chunks), tiling, input_cell=1, output_cell=1))
    assert seen == [[3, 2, 2]] * 3
    for number, (chunk, result) in enumerate(zip(chunks, results, strict=True), start=1):
        assert torch.equal(result, torch.full_like(chunk, float(number)))


def test_chunks_are_tiled_as_they_come():
    asked: list[int] = []

    def chunks() -> Iterator[Tensor]:
        for number in range(3):
            asked.append(number)
            yield torch.zeros(1, 1, 1, 4, 4)

    tiling = Tiling(height=3, width=3, overlap_height=1, overlap_width=1)
    results = run_tiled(enlarge(1), chunks(), tiling, input_cell=1, output_cell=1)
    next(results)
    assert asked == [0]


@pytest.mark.parametrize(("overlap_height", "overlap_width"), [(4, 0), (0, 4), (5, 0), (-1, 0)])
def test_an_overlap_as_large_as_its_tile_is_refused(overlap_height, overlap_width):
    with pytest.raises(ValueError, match="smaller than its tile"):
        Tiling(height=4, width=4, overlap_height=overlap_height, overlap_width=overlap_width)


def test_released_tiles_are_half_the_training_size():
    assert released_tiling(AutoencoderConfig()) == Tiling(
        height=30, width=45, overlap_height=5, overlap_width=9
    )
