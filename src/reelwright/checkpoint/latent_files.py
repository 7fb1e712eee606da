"""Files of the latents of one clip."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from reelwright.checkpoint.safetensors_io import open_tensors, save_safetensors
from reelwright.core.errors import FileError

SUFFIX = ".latent.safetensors"
_LATENTS = "latent"
_ADVICE = f"Give a {SUFFIX} file of a run."


def save_latents(path: Path, latents_BCTHW: Tensor, metadata: Mapping[str, str]) -> None:
    save_safetensors(path, {_LATENTS: latents_BCTHW}, metadata)


def read_latents(path: Path) -> Tensor:
    """The latents of one clip, float32 [1, C, T, H, W]: of this program or of others.

    Raises FileError for any other file.
    """
    with open_tensors(path) as source:
        shapes = source.shapes()
        names = [name for name in shapes if name.startswith(_LATENTS) and len(shapes[name]) >= 4]
        if len(names) != 1:
            raise FileError(f"{path}: holds no tensor `{_LATENTS}` of four or five dimensions. {_ADVICE}")
        latents = source.read(names[0]).float()
    if latents.ndim == 4:
        latents = latents.unsqueeze(0)
    if latents.ndim != 5 or latents.shape[0] != 1 or not latents.numel():
        raise FileError(f"{path}: its latents are {list(latents.shape)}, not those of one clip. {_ADVICE}")
    if not torch.isfinite(latents).all():
        raise FileError(f"{path}: its latents hold NaN or infinity. Generate the clip again.")
    return latents
