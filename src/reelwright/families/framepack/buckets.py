"""The sizes that the released models were trained on, about 640 x 640 pixels (specs: FramePack 3.4)."""

from reelwright.media.geometry import Size, nearest_listed_size

TRAINED_RESOLUTION = 640

_WIDE: tuple[Size, ...] = (
    (960, 416),
    (864, 448),
    (832, 480),
    (768, 512),
    (704, 544),
    (672, 576),
    (640, 608),
)
TRAINED_SIZES: tuple[Size, ...] = (*_WIDE, *((height, width) for width, height in _WIDE[::-1]))
"""Widths and heights, widest first; there is no square among them."""


def nearest_trained_size(source: Size) -> Size:
    """The trained size in which a picture loses least; of two as near, the taller."""
    return nearest_listed_size(source, TRAINED_SIZES)
