"""Silhouettes as polygons, so that one rasterizer draws, and one formula measures, them all."""

import math
from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
"""Corners of a closed polygon [N, 2], right and down."""
Corners = Sequence[tuple[float, float]]

_NUM_CORNERS_OF_A_CIRCLE = 96


@cache
def outline(shape: str) -> tuple[Points, ...]:
    """The contours of a shape: center of area at 0, farthest corner at distance 1; holes run the other way.

    Raises KeyError for a shape that the vocabulary does not have.
    """
    solid, holes = _SHAPES[shape]
    contours = [_oriented(each, 1) for each in solid] + [_oriented(each, -1) for each in holes]
    middle = _moment(contours) / area(contours)
    moved = [contour - middle for contour in contours]
    reach = max(np.hypot(*contour.T).max() for contour in moved)
    return tuple(contour / reach for contour in moved)


def area(contours: Sequence[Points]) -> float:
    """Of a silhouette, holes not counted."""
    return sum(float(_cross(contour).sum()) / 2 for contour in contours)


def _oriented(corners: Corners, sign: int) -> Points:
    contour = np.array(corners, dtype=np.float64)
    return contour if area([contour]) * sign > 0 else contour[::-1].copy()


def _moment(contours: Sequence[Points]) -> Points:
    """The integral of the place over the area."""
    return sum(
        (((contour + np.roll(contour, -1, 0)) * _cross(contour)[:, None]).sum(0) / 6 for contour in contours),
        np.zeros(2),
    )


def _cross(contour: Points) -> NDArray[np.float64]:
    following = np.roll(contour, -1, 0)
    return contour[:, 0] * following[:, 1] - contour[:, 1] * following[:, 0]


def _circle(radius: float, x: float = 0.0, y: float = 0.0, turns: float = 1.0, start: float = 0.0) -> Corners:
    """Corners on a circle, or on an arc of it that begins at `start` turns, clockwise from the right."""
    number = _NUM_CORNERS_OF_A_CIRCLE
    angles = (math.tau * (start + turns * step / number) for step in range(number + (turns < 1.0)))
    return [(x + radius * math.cos(angle), y + radius * math.sin(angle)) for angle in angles]


def _star(num_points: int, inner: float) -> Corners:
    angles = [math.pi * step / num_points - math.pi / 2 for step in range(2 * num_points)]
    radii = (1.0, inner) * num_points
    return [
        (radius * math.cos(angle), radius * math.sin(angle))
        for angle, radius in zip(angles, radii, strict=True)
    ]


def _box(left: float, top: float, right: float, bottom: float) -> Corners:
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def _mirrored(half: Corners) -> Corners:
    """A symmetric polygon of its right half, given from top to bottom."""
    return [*half, *((-x, y) for x, y in reversed(half))]


def _moon() -> Corners:
    """What a disc leaves of another."""
    angles = np.linspace(0.16, 0.84, _NUM_CORNERS_OF_A_CIRCLE) * math.tau
    outer = [(math.cos(angle), math.sin(angle)) for angle in angles]
    inner_radius = math.hypot(outer[0][0] - 0.62, outer[0][1])
    opening = math.atan2(outer[0][1], outer[0][0] - 0.62)
    back = np.linspace(math.tau - opening, opening, _NUM_CORNERS_OF_A_CIRCLE)[1:-1]
    return outer + [(0.62 + inner_radius * math.cos(a), inner_radius * math.sin(a)) for a in back]


def _heart() -> Corners:
    """The curve of https://mathworld.wolfram.com/HeartCurve.html with cosines."""
    angles = [math.tau * step / _NUM_CORNERS_OF_A_CIRCLE for step in range(_NUM_CORNERS_OF_A_CIRCLE)]
    return [
        (
            16 * math.sin(angle) ** 3,
            -13 * math.cos(angle) + 5 * math.cos(2 * angle) + 2 * math.cos(3 * angle) + math.cos(4 * angle),
        )
        for angle in angles
    ]


_ARM = 0.34
_BIRD: Corners = (
    *((1.0, -0.12), (0.76, -0.3), (0.54, -0.36), (0.34, -0.26), (0.16, -0.2), (-0.08, -0.62), (-0.42, -0.98)),
    *(
        (-0.4, -0.5),
        (-0.34, -0.06),
        (-0.62, -0.06),
        (-1.0, -0.3),
        (-0.92, 0.16),
        (-0.58, 0.34),
        (-0.14, 0.44),
    ),
    *((0.28, 0.36), (0.56, 0.14), (0.7, -0.06)),
)
_CAR: Corners = (
    *((-1.0, 0.36), (-1.0, 0.0), (-0.66, -0.1), (-0.4, -0.52), (0.3, -0.52), (0.6, -0.1), (1.0, 0.04)),
    (1.0, 0.36),
)
_SHAPES: dict[str, tuple[tuple[Corners, ...], tuple[Corners, ...]]] = {
    "ball": ((_circle(1.0),), ()),
    "square": ((_box(-1.0, -1.0, 1.0, 1.0),), ()),
    "triangle": ((_star(3, 0.5),), ()),
    "star": ((_star(5, 0.45),), ()),
    "ring": ((_circle(1.0),), (_circle(0.58),)),
    "cross": (
        (_mirrored([(_ARM, -1.0), (_ARM, -_ARM), (1.0, -_ARM), (1.0, _ARM), (_ARM, _ARM), (_ARM, 1.0)]),),
        (),
    ),
    "fox": (
        (_mirrored([(0.3, -0.46), (0.84, -0.98), (0.96, 0.1), (0.56, 0.52), (0.14, 0.92)]),),
        (
            [(0.22, 0.16), (0.5, -0.08), (0.5, 0.12)],
            [(-0.22, 0.16), (-0.5, -0.08), (-0.5, 0.12)],
            _circle(0.1, 0.0, 0.68),
        ),
    ),
    "car": (
        (_CAR, _circle(0.23, -0.54, 0.36, 0.5), _circle(0.23, 0.56, 0.36, 0.5)),
        ([(-0.5, -0.1), (-0.32, -0.4), (-0.06, -0.4), (-0.06, -0.1)], _box(0.05, -0.4, 0.24, -0.1)),
    ),
    "boat": (
        (
            [(-1.0, 0.38), (1.0, 0.38), (0.64, 0.86), (-0.64, 0.86)],
            _box(-0.1, -0.98, -0.02, 0.38),
            [(0.06, -0.92), (0.8, 0.26), (0.06, 0.26)],
            [(-0.18, -0.6), (-0.18, 0.26), (-0.7, 0.26)],
        ),
        (),
    ),
    "bird": ((_BIRD,), (_circle(0.07, 0.62, -0.18),)),
    "house": (
        (_mirrored([(0.0, -0.96), (0.98, -0.06), (0.72, -0.06), (0.72, 0.9)]),),
        (_box(-0.2, 0.34, 0.2, 0.9),),
    ),
    "heart": ((_heart(),), ()),
    "moon": ((_moon(),), ()),
}
"""Shape -> its solid parts, which do not overlap, and the holes in them."""
