"""How far pixels are from colors, and from all mixtures or shades of them."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]


def distance_to_mixture(pixels: Floats, first: Floats, second: Floats) -> tuple[Floats, Floats]:
    """How far [..., 3] is from the nearest mixture of two colors, and how much of the second is in that."""
    along = second - first
    length = float(along @ along)
    share = np.clip((pixels - first) @ along / max(length, 1e-6), 0.0, 1.0).astype(np.float32)
    nearest = first + share[..., None] * along
    return np.linalg.norm(pixels - nearest, axis=-1).astype(np.float32), share


def distance_to_shades(pixels: Floats, color: Floats, spread: float) -> Floats:
    """How far [..., 3] is from a color made darker or brighter by up to `spread`."""
    dark, bright = color * (1.0 - spread), np.minimum(color * (1.0 + spread), 255.0)
    return distance_to_mixture(pixels, dark.astype(np.float32), bright.astype(np.float32))[0]
