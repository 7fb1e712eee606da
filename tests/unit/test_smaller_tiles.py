"""Tiles get smaller, never below 64 pixels, and only for want of memory."""

import weakref
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reelwright.execution.smaller_tiles import SmallerTiles
from reelwright.execution.tiling import Tiling
from reelwright.families.cogvideox.config import AutoencoderConfig as CogVideoXConfig
from reelwright.families.cogvideox.latent_space import released_tiling
from reelwright.families.framepack.config import AutoencoderConfig as FramePackConfig
from reelwright.families.framepack.latent_space import square_tiling

CUTS = {
    "cogvideox": partial(released_tiling, CogVideoXConfig()),
    "framepack": partial(square_tiling, FramePackConfig()),
}


def sides(tiles: SmallerTiles, rows: int, columns: int) -> list[tuple[int, int]]:
    """Pixels of the tiles that are tried."""
    found: list[tuple[int, int]] = []
    while tiles.lessen(rows, columns):
        assert tiles.tiling is not None
        found.append((8 * tiles.tiling.height, 8 * tiles.tiling.width))
    return found


def test_the_released_tiles_come_first_and_then_half_of_them_down_to_64_pixels():
    for name, expected in (
        ("cogvideox", [(240, 360), (176, 176), (88, 88), (64, 64)]),
        ("framepack", [(256, 256), (128, 128), (64, 64)]),
    ):
        assert sides(SmallerTiles(None, CUTS[name], cell=8), 60, 90) == expected


def test_tiles_that_are_larger_than_the_frames_are_not_tried():
    assert sides(SmallerTiles(None, CUTS["framepack"], cell=8), 24, 20) == [(96, 96), (64, 64)]
    assert sides(SmallerTiles(None, CUTS["framepack"], cell=8), 8, 8) == []


def test_tiles_that_were_asked_for_only_get_smaller():
    cut = CUTS["framepack"]
    assert sides(SmallerTiles(cut(128), cut, cell=8), 60, 90) == [(64, 64)]
    assert sides(SmallerTiles(cut(32), cut, cell=8), 60, 90) == []


@given(st.sampled_from(sorted(CUTS)), st.integers(1, 100), st.integers(1, 100))
def test_each_try_needs_less_than_the_one_before_and_there_are_few(name, rows, columns):
    found = sides(SmallerTiles(None, CUTS[name], cell=8), rows, columns)
    areas = [min(height, 8 * rows) * min(width, 8 * columns) for height, width in found]
    assert all(after < before for before, after in zip([64 * rows * columns, *areas], areas, strict=False))
    assert len(found) <= 8


def test_work_is_done_in_the_first_tiles_that_fit_and_that_is_told_once():
    tiles = SmallerTiles(None, CUTS["framepack"], cell=8)

    def work(tiling: Tiling | None) -> int:
        if tiling is None or tiling.height > 8:
            raise MemoryError
        return tiling.height

    assert tiles.until_it_fits(work, 60, 90) == 8
    assert [notice.count("64 x 64") for notice in tiles.take_notices()] == [0, 0, 1]
    assert tiles.take_notices() == []
    assert tiles.unasked() == ("tiles of 64 x 64 pixels, since memory ran out",)


@pytest.mark.parametrize(
    "error", [RuntimeError("no kernel"), ValueError("no"), KeyboardInterrupt()], ids=repr
)
def test_what_is_wrong_for_other_reasons_is_raised_at_once(error):
    tries: list[Tiling | None] = []

    def work(tiling: Tiling | None) -> None:
        tries.append(tiling)
        raise error

    with pytest.raises(type(error)):
        SmallerTiles(None, CUTS["framepack"], cell=8).until_it_fits(work, 60, 90)
    assert tries == [None]


def test_a_failed_try_holds_no_memory_while_the_next_is_made():
    large: list[weakref.ref[torch.Tensor]] = []
    alive: list[bool] = []

    def work(_: Tiling | None) -> None:
        alive.append(any(reference() is not None for reference in large))
        tensor = torch.zeros(4)
        large.append(weakref.ref(tensor))
        if len(large) < 3:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")

    SmallerTiles(None, CUTS["framepack"], cell=8).until_it_fits(work, 60, 90)
    assert alive == [False, False, False]
