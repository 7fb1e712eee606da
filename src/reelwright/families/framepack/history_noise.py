"""Noise on what a section has been shown: a model that learns with it drifts less on what it made itself.

The idea is noise augmentation of conditions (Ho et al., Cascaded Diffusion Models, section 4.2), level by
level as in Chen et al., Diffusion Forcing. For each item a level h = most * u is drawn, u uniform on [0, 1),
and each latent c of its history becomes (1 - h) * c + h * noise, as noisy latents of the flow are made. The
image that a clip starts from stays clean, because it is true in generation too, and so do zeros, which stand
for no frame at all. The model is not told the level.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from reelwright.diffusion.process import Level, add_noise

_GROUPS = ("latents_clean", "latents_clean_2x", "latents_clean_4x")
_START = "latents_clean"
"""The group whose first latent is the start image."""


def with_history_noise(
    tensors: Mapping[str, Tensor], most: float, generators: Sequence[torch.Generator]
) -> dict[str, Tensor]:
    """The tensors of a batch, with noise of at most that level on clean latents [B, C, T, H, W].

    One generator for each item; nothing is drawn where `most` is 0.
    """
    if not most:
        return dict(tensors)
    present = [name for name in _GROUPS if name in tensors]
    items = [
        _noised({name: tensors[name][index] for name in present}, most, generator)
        for index, generator in enumerate(generators)
    ]
    return {**tensors, **{name: torch.stack([item[name] for item in items]) for name in present}}


def _noised(groups: Mapping[str, Tensor], most: float, generator: torch.Generator) -> dict[str, Tensor]:
    """Of one item, whose latents are [C, T, H, W]."""
    level = most * float(torch.rand((), generator=generator))
    return {
        name: _noised_group(clean, level, generator, num_kept=1 if name == _START else 0)
        for name, clean in groups.items()
    }


def _noised_group(clean: Tensor, level: float, generator: torch.Generator, *, num_kept: int) -> Tensor:
    noise = torch.randn(clean.shape, generator=generator)
    noisy = add_noise(clean.float(), noise, Level(1.0 - level, level)).to(clean.dtype)
    is_kept_T = clean.eq(0).all(dim=3).all(dim=2).all(dim=0)
    is_kept_T[:num_kept] = True
    return torch.where(is_kept_T[:, None, None], clean, noisy)
