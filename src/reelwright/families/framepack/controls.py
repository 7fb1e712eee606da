"""Control images of one-frame mode: read with their masks, and masks applied to latents."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from reelwright.media.geometry import Size
from reelwright.media.image_ops import Fit, fit_image, fit_mask, open_image, open_mask

_STRIDE = 8
"""Pixels to a latent cell."""


def read_mask(image: Path, mask: Path | None, size: Size, fit: Fit = "crop") -> Image.Image | None:
    """The mask of a control image, or its transparency if it has any, as large as latents of that size.

    It is cropped like its image first: what is erased lies where it lies in the image (specs: FramePack 9).
    """
    opened = open_mask(image if mask is None else mask, alpha_only=mask is None)
    if opened is None:
        return None
    width, height = size
    return fit_mask(fit_image(opened, width, height, fit), width // _STRIDE, height // _STRIDE)


def read_control(path: Path, size: Size) -> tuple[Image.Image, Image.Image | None]:
    """A control image that covers `size`, what is stored beneath its transparency kept, and its mask."""
    image = open_image(path, keep_hidden=True).rgb
    return fit_image(image, *size), read_mask(path, None, size)


def masked(latents: Tensor, mask: Image.Image | None) -> Tensor:
    """Latents [..., H, W] without what a mask of their size leaves out: black is erased."""
    return latents if mask is None else latents * torch.from_numpy(np.asarray(mask, np.float32) / 255)
