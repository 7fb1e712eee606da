"""Where everything is at a time, in units of the shorter side of the picture, from its middle."""

import math
from dataclasses import dataclass

from reelwright.data.synthetic.scene import Camera, SceneObject
from reelwright.data.synthetic.vocabulary import DIRECTIONS
from reelwright.media.geometry import Size

Place = tuple[float, float]

_GROWTH = 1.0
_SHRINKAGE = 0.6


@dataclass(frozen=True, kw_only=True)
class View:
    """What the camera shows: its middle, and how many times larger than at the start."""

    middle: Place
    zoom: float


@dataclass(frozen=True, kw_only=True)
class Pose:
    """How an object stands: its center of area, the distance of its farthest corner, its angle in radians."""

    center: Place
    radius: float
    angle: float
    is_mirrored: bool


def half_extent(size: Size) -> Place:
    """From the middle to the borders."""
    return size[0] / min(size) / 2, size[1] / min(size) / 2


def view_at(camera: Camera, time: float) -> View:
    """What the camera shows after so many seconds."""
    done = camera.reach * _approach(camera.pace * time)
    kind, _, way = camera.move.partition(" ")
    if kind == "pan":
        right, down = DIRECTIONS[way]
        return View(middle=(right * done, down * done), zoom=1.0)
    if kind == "zoom":
        return View(middle=(0.0, 0.0), zoom=1.0 + done if way == "in" else 1.0 / (1.0 + done))
    return View(middle=(0.0, 0.0), zoom=1.0)


def pose_at(thing: SceneObject, time: float, half: Place) -> Pose:
    """Where an object is after so many seconds in a picture that reaches as far as `half`."""
    turned = thing.pace * time + thing.phase
    x, y = (fraction * max(end - thing.radius, 0.0) for fraction, end in zip(thing.start, half, strict=True))
    radius, angle = thing.radius, 0.0
    direction = DIRECTIONS.get(thing.motion, (0, 0))
    match thing.motion:
        case "bounce":
            fraction = turned % 1.0
            y -= thing.reach * 4.0 * fraction * (1.0 - fraction)
        case "circle":
            x += thing.reach * math.cos(math.tau * turned)
            y += thing.reach * math.sin(math.tau * turned)
        case "spin":
            angle = math.tau * turned
        case "grow":
            radius *= 1.0 + _GROWTH * _approach(thing.pace * time)
        case "shrink":
            radius *= 1.0 - _SHRINKAGE * _approach(thing.pace * time)
        case _:
            way = thing.pace * time
            x, y = (
                _around(place + step * way * end, end + radius)
                for place, step, end in zip((x, y), direction, half, strict=True)
            )
    return Pose(center=(x, y), radius=radius, angle=angle, is_mirrored=direction[0] < 0)


def _approach(time: float) -> float:
    """From 0 toward 1, never faster than at the start: no clip is so long that it would jump."""
    return 1.0 - math.exp(-time)


def _around(place: float, end: float) -> float:
    """What leaves on one side comes back from the other."""
    return (place + end) % (2.0 * end) - end
