"""Tokens that stand for small blocks of latents."""

from collections.abc import Sequence

from torch import Tensor


def unpatchify(patches_BLD: Tensor, grid_THW: Sequence[int], patch_THW: Sequence[int]) -> Tensor:
    """Put each token's features (channel, dt, dy, dx) back into its place. Returns [B, C, T, H, W].

    grid_THW counts tokens, which are ordered (t, y, x); patch_THW are the latents of one token.
    """
    patches = patches_BLD.unflatten(2, (-1, *patch_THW)).unflatten(1, tuple(grid_THW))
    # B t y x C dt dy dx -> B C (t dt) (y dy) (x dx)
    return patches.permute(0, 4, 1, 5, 2, 6, 3, 7).flatten(6, 7).flatten(4, 5).flatten(2, 3)
