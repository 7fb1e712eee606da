"""Where tiles meet, a smooth picture is as near to the untiled result as it is within tiles."""

from functools import lru_cache

import pytest
import torch
from torch import Tensor

from reelwright.execution.tiling import Tiling
from reelwright.families.cogvideox import checkpoints as cogvideox
from reelwright.families.cogvideox import latent_space as cogvideox_space
from reelwright.families.cogvideox.config import CogVideoXGenerate
from reelwright.families.framepack import checkpoints as framepack
from reelwright.families.framepack import latent_space as framepack_space
from reelwright.families.framepack.config import FramePackGenerate

FAMILIES = ["cogvideox", "framepack"]
CELLS, CELL = 16, 8
"""Of the picture: 128 x 128 pixels."""
Space = cogvideox_space.LatentSpace | framepack_space.LatentSpace


@lru_cache
def space(family: str, side: int = 0, overlap: int = 0) -> Space:
    """The embedded model's, in tiles of so many latent cells a side, or whole."""
    cpu, dtype = torch.device("cpu"), torch.float32
    tiling = Tiling(height=side, width=side, overlap_height=overlap, overlap_width=overlap) if side else None
    if family == "cogvideox":
        files = cogvideox.locate(CogVideoXGenerate())
        network = cogvideox.load_autoencoder(files, cpu, dtype)
        return cogvideox_space.LatentSpace(autoencoder=network, tiling=tiling)
    found = framepack.locate(FramePackGenerate())
    loaded = framepack.load_autoencoder(found.autoencoder_path, found.autoencoder, cpu, dtype)
    return framepack_space.LatentSpace(autoencoder=loaded, tiling=tiling)


@lru_cache
def picture() -> Tensor:
    """Sky over sand, as the embedded models know them, a little brighter from column to column."""
    sky, sand = torch.tensor([0.62, 0.76, 0.86]), torch.tensor([0.81, 0.70, 0.50])
    rows = torch.cat([sky[:, None].expand(-1, 64), sand[:, None].expand(-1, 64)], dim=1)
    columns = torch.linspace(0, 0.16, CELLS * CELL)
    return (rows[None, :, None, :, None] + columns) * 2 - 1


@lru_cache
def picture_with_a_thing() -> Tensor:
    """Something red far on the left: norms of tiles that show it have other means than those of the rest."""
    seen = picture().clone()
    seen[..., 24:104, 4:24] = torch.tensor([0.85, 0.2, 0.15])[None, :, None, None, None] * 2 - 1
    return seen


def latents(family: str, shown: Tensor | None = None) -> Tensor:
    whole = space(family)
    return whole.encode(picture() if shown is None else shown).mean * whole.scale


def difference(family: str, side: int, overlap: int) -> tuple[Tensor, Tensor]:
    """Squared, from what is decoded and encoded whole, by column."""
    tiled, whole, start = space(family, side, overlap), space(family), latents(family)
    (seen,), (expected,) = (list(each.decode(start)) for each in (tiled, whole))
    pixels = (seen.float() - expected.float()).square().mean(dim=(0, 1, 3))
    encoded = (tiled.encode(picture()).mean * tiled.scale - start).square().mean(dim=(0, 1, 2, 3))
    return pixels, encoded


@pytest.mark.parametrize("family", FAMILIES)
def test_the_error_at_a_border_is_no_larger_than_within_tiles(family):
    """Tiles of 8 cells that share a quarter: the released tiles, made small. Bound: 1.3 times."""
    for error, cell in zip(difference(family, 8, 2), (CELL, 1), strict=True):
        border = error[5 * cell : 9 * cell]
        within = torch.cat([error[2 * cell : 5 * cell], error[9 * cell : 11 * cell]])
        assert border.mean().sqrt() <= 1.3 * within.mean().sqrt()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_seam_that_shows_is_gone_where_tiles_overlap(family):
    """In levels of 256: the largest step between columns that tiling adds where two tiles meet.

    Less than half a level is what rounding leaves. Measured without overlap 3.4 and 3.2, with it 0.38.
    """
    start, whole = latents(family, picture_with_a_thing()), space(family)
    steps: list[float] = []
    for overlap in (0, 2, 4):
        (seen,), (expected,) = (list(each.decode(start)) for each in (space(family, 8, overlap), whole))
        error = (seen.float() - expected.float()).mean(dim=(0, 1, 3))
        border = (8 - overlap) * CELL
        steps.append(error[border - 1 : border + overlap * CELL + 1].diff().abs().max().item())
    assert steps[0] > 2
    assert max(steps[1:]) < 0.5


@pytest.mark.parametrize("family", FAMILIES)
def test_the_error_falls_with_the_overlap_and_is_gone_in_one_tile(family):
    sizes = [(8, 0), (8, 4), (12, 8), (16, 8)]
    errors = [[error.mean().item() for error in difference(family, *size)] for size in sizes]
    for falling in zip(*errors, strict=True):
        assert falling[1] < falling[0]
        assert falling[2] < falling[1]
        assert falling[3] == 0
