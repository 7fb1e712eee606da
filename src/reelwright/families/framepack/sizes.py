"""The size of a video: what was asked for, that of a clip, or the nearest one the model knows."""

from pathlib import Path

from reelwright.families.framepack.buckets import TRAINED_RESOLUTION, nearest_trained_size
from reelwright.families.framepack.clips import clip_size
from reelwright.families.framepack.config import FramePackGenerate
from reelwright.media.geometry import nearest_multiple, size_of_area
from reelwright.media.image_ops import open_image
from reelwright.protocols.review import Review

STEP = 16
"""Sizes are multiples of this: 8 pixels to a latent cell, 2 x 2 cells to a token."""


def choose_size(review: Review[FramePackGenerate], resolution: int, shown: Path | None) -> None:
    """Put height and width into the configuration. `shown` is the picture whose shape an open size takes."""
    config = review.config
    height, width = config.height, config.width
    source = config.extend or config.video or config.bridge_to
    if not (height and width):
        if source is not None:
            native = clip_size(source)
        elif shown is not None:
            native = _size_of(shown, resolution)
        else:
            native = (resolution, resolution)
        height, width = height or native[0], width or native[1]
    if config.one_frame_auto_resize:
        picture = open_image(config.control_image[0]).rgb
        width, height = size_of_area(picture.size, height * width, STEP)
    for key, value in (("height", height), ("width", width)):
        legal = nearest_multiple(value, STEP, STEP)
        if value == legal:
            review.set(**{key: value})
        else:
            review.adjust(key, legal, f"{key}: {value} is no multiple of {STEP}.")


def _size_of(path: Path, resolution: int) -> tuple[int, int]:
    """Height and width of about resolution x resolution pixels in the shape of a picture."""
    source = open_image(path).rgb.size
    if resolution == TRAINED_RESOLUTION:
        width, height = nearest_trained_size(source)
    else:
        width, height = size_of_area(source, resolution**2, STEP)
    return height, width
