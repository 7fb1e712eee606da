"""Which size each picture or clip is trained at; the grid is that of musubi-tuner."""

import math
from functools import lru_cache

from reelwright.core.errors import ConfigError
from reelwright.media.geometry import (
    Size,
    floor_multiple,
    nearest_listed_size,
    nearest_multiple,
    size_of_area,
)
from reelwright.protocols.clips import ClipRule
from reelwright.protocols.datasets import DatasetConfig


def choose_size(source_size: Size, dataset: DatasetConfig, rule: ClipRule) -> Size:
    """Width and height that a picture or clip of `source_size` is trained at.

    Raises ConfigError for a resolution that is not legal, and where there is no list of trained sizes.
    """
    resolution = dataset.resolution or rule.default_size
    if not dataset.enable_bucket:
        check_legal(resolution, rule.size_step)
        return resolution
    area = resolution[0] * resolution[1]
    if dataset.bucket_no_upscale and source_size[0] * source_size[1] <= area:
        return floor_multiple(source_size[0], rule.size_step), floor_multiple(source_size[1], rule.size_step)
    if dataset.bucket_kind == "grid":
        return nearest_shape(source_size, grid_sizes(resolution, rule.size_step))
    if dataset.bucket_kind == "area":
        return size_of_area(source_size, area, rule.size_step)
    return nearest_listed_size(source_size, trained_sizes(rule, dataset.resolution))


def check_legal(resolution: Size, step: int) -> None:
    """Raise ConfigError unless both sides are multiples of `step`."""
    nearest = tuple(nearest_multiple(side, step) for side in resolution)
    if nearest != resolution:
        raise ConfigError(
            f"resolution: {resolution[0]} x {resolution[1]} is not in steps of {step} pixels."
            f" Use [{nearest[0]}, {nearest[1]}], or enable_bucket for sizes of about that area."
        )


@lru_cache(maxsize=64)
def grid_sizes(resolution: Size, step: int) -> tuple[Size, ...]:
    """All sizes in steps of `step` pixels with about the area of `resolution`, narrowest first.

    Widths from half the side of the square of that area up to it, each with the tallest height that fits, and
    the same turned over.
    """
    area = resolution[0] * resolution[1]
    side = math.isqrt(area)
    widths = range(floor_multiple(side // 2, step), side + 1, step)
    tall = [(width, floor_multiple(area // width, step)) for width in widths]
    return tuple(sorted({*tall, *((height, width) for width, height in tall)}))


def nearest_shape(source_size: Size, sizes: tuple[Size, ...]) -> Size:
    """The size whose width / height is nearest; the first of two as near."""
    shape = source_size[0] / source_size[1]
    return min(sizes, key=lambda size: abs(size[0] / size[1] - shape))


def trained_sizes(rule: ClipRule, resolution: Size | None) -> tuple[Size, ...]:
    """The model's own list of sizes, enlarged or reduced to the area of `resolution` where that is another.

    Raises ConfigError for a model without such a list.
    """
    if not rule.trained_sizes:
        raise ConfigError(
            "bucket_kind: this model has no list of sizes that it was trained on. Use grid or area."
        )
    if resolution is None:
        return rule.trained_sizes
    areas = [width * height for width, height in rule.trained_sizes]
    # Such lists are named by a square that none of their sizes exceeds: 640 x 640.
    side = -(-math.isqrt(max(areas) - 1) // rule.size_step) * rule.size_step
    area = resolution[0] * resolution[1]
    if min(areas) <= area <= side * side:
        return rule.trained_sizes
    scale = math.sqrt(area) / side
    scaled = (
        (nearest_multiple(width * scale, rule.size_step), nearest_multiple(height * scale, rule.size_step))
        for width, height in rule.trained_sizes
    )
    return tuple(dict.fromkeys(scaled))
