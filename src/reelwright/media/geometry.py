"""Sizes, crops and frame counts: pure integers, so that every layer agrees to the pixel.

A size is (width, height); a box is (left, top, right, bottom) with right and bottom outside, as in Pillow.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

Size = tuple[int, int]
Box = tuple[int, int, int, int]


def nearest_multiple(value: float, step: int, minimum: int = 0) -> int:
    """The multiple of `step` closest to `value`, at least `minimum` (rounded up to a multiple) and `step`.

    Halfway goes up: 24 in steps of 16 is 32.
    """
    lowest = max(-(-minimum // step), 1) * step
    return max(int((value + step / 2) // step) * step, lowest)


def floor_multiple(value: float, step: int) -> int:
    """The largest multiple of `step` that is not above `value`, but at least `step` itself."""
    return max(int(value // step) * step, step)


def cover_crop_box(source: Size, target: Size) -> tuple[Size, Box]:
    """How to fill `target` without bars: resize `source` to the size given, then cut the box given.

    The resized picture keeps its shape (to rounding), is nowhere smaller than `target`, and touches it in one
    dimension; the box is its middle and has exactly the size of `target`.
    """
    resized = _scaled(source, target, cover=True)
    left, top = (resized[0] - target[0]) // 2, (resized[1] - target[1]) // 2
    return resized, (left, top, left + target[0], top + target[1])


def contain_pad_box(source: Size, target: Size) -> tuple[Size, Box]:
    """How to show all of `source` within `target`: resize to the size given, paste at the box given."""
    resized = _scaled(source, target, cover=False)
    left, top = (target[0] - resized[0]) // 2, (target[1] - resized[1]) // 2
    return resized, (left, top, left + resized[0], top + resized[1])


def size_of_area(source: Size, area: int, step: int) -> Size:
    """The size of about `area` pixels in multiples of `step`, not more, that is closest in shape to `source`.

    Of five widths around the exact one, each with the tallest height that fits, the one whose width / height
    is nearest; the narrower of two as near. Raises ValueError for an area below step * step.
    """
    if area < step * step:
        raise ValueError(f"area: {area} is less than {step} x {step}.")
    shape = source[0] / source[1]
    widest = area // step // step * step
    middle = min(max(int(math.sqrt(area * shape)) // step * step, step), widest)
    widths = range(max(middle - 2 * step, step), min(middle + 2 * step, widest) + 1, step)
    sizes = [(width, area // width // step * step) for width in widths]
    return min(sizes, key=lambda size: abs(size[0] / size[1] - shape))


def nearest_listed_size(source: Size, sizes: Iterable[Size]) -> Size:
    """The size in which a picture loses least: least |height * W - width * H|; of two as near, the later."""
    width, height = source
    # The released choice lets a later entry win a tie.
    return min(reversed(list(sizes)), key=lambda size: abs(height * size[0] - width * size[1]))


@dataclass(frozen=True, kw_only=True)
class FrameRule:
    """Which frame counts a model can make: 1, step + 1, 2 step + 1, ... up to `maximum`, where it has one."""

    step: int
    maximum: int | None = None

    def allows(self, num_frames: int) -> bool:
        """Whether the model can make exactly this many frames."""
        return num_frames >= 1 and self.nearest(num_frames) == num_frames

    def nearest(self, num_frames: int) -> int:
        """The allowed count closest to `num_frames`; of two as close, the smaller."""
        nearest = snap_num_frames(num_frames, self.step)
        return nearest if self.maximum is None else min(nearest, self._largest(self.maximum))

    def problem(self, num_frames: int) -> str | None:
        """Why `num_frames` is not allowed and what is, as the end of a message; None if it is allowed."""
        if self.allows(num_frames):
            return None
        if self.maximum is not None and num_frames > (largest := self._largest(self.maximum)):
            return f"{num_frames} is more than the model makes. Use {largest} or fewer."
        below, above = neighbor_num_frames(num_frames, self.step)
        choices = f"{below} or {above}" if below < above else f"{below}"
        return f"{num_frames} is not of the form {self.step}k + 1. Use {choices}."

    def _largest(self, maximum: int) -> int:
        return neighbor_num_frames(maximum, self.step)[0]


def snap_num_frames(num_frames: int, step: int) -> int:
    """The count of the form step * k + 1 (k >= 0) closest to `num_frames`; of two as close, the smaller."""
    below, above = neighbor_num_frames(num_frames, step)
    return below if num_frames - below <= above - num_frames else above


def neighbor_num_frames(num_frames: int, step: int) -> tuple[int, int]:
    """The counts of the form step * k + 1 (k >= 0) at or below and at or above `num_frames`."""
    if num_frames <= 1:
        return 1, 1
    below = num_frames - (num_frames - 1) % step
    return below, below if below == num_frames else below + step


def _scaled(source: Size, target: Size, *, cover: bool) -> Size:
    """`source` enlarged or reduced until it covers, or just fits within, `target`."""
    width_decides = (target[0] * source[1] >= target[1] * source[0]) == cover
    if width_decides:
        return target[0], max(_rounded_ratio(source[1] * target[0], source[0]), 1)
    return max(_rounded_ratio(source[0] * target[1], source[1]), 1), target[1]


def _rounded_ratio(dividend: int, divisor: int) -> int:
    return (2 * dividend + divisor) // (2 * divisor)
