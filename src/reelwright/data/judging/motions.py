"""What an object does, from where it is, how large and how turned, in the frames of a clip."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from reelwright.data.judging.tracks import Sight, Track
from reelwright.data.synthetic.vocabulary import DIRECTIONS, ROUND_SHAPES

Places = NDArray[np.float64]
"""[N, 2], right and down, in the shorter side of the picture."""

_FEWEST = 3
_LONG_ENOUGH = 0.2
"""Of the longest time that it is seen without a break."""
_STILL = 0.035
"""In the shorter side: who stays within this goes nowhere."""
_GROWN = 1.15
"""Times the radius it began with."""
_BENT = 0.12
"""Width of a path in its length: straighter ones are lines."""
_STRAIGHT = 0.8
"""How far a path leads in its length: less, and it turned back."""
_NUM_ANGLES = 72
_LARGEST_TURN = 36.0
"""Degrees between two looks; beyond, a star would look as if it turned back."""
_LOOKS_PER_SECOND = 8.0
_SEEN_TURN = 20.0
"""Degrees in all."""
_UNEVEN = 0.05
"""How much the outline of what can be seen to turn varies around its center."""


def recognize_motion(track: Track, shape: str, fps: float) -> str:
    """The motion in the vocabulary that fits best; empty where too little is seen."""
    if len(track.sights) < _FEWEST:
        return ""
    sights, runs = _clearest(track)
    steps = np.concatenate([np.diff(_places(run, track), axis=0) for run in runs if len(run) > 1] or [[]])
    longest = _places(max(runs, key=len), track)
    if len(steps) and _extent(longest)[0] > _STILL:
        return _travel(steps, longest, track)
    growth = _growth(sights)
    if growth > _GROWN or growth < 1.0 / _GROWN:
        return "grow" if growth > 1.0 else "shrink"
    if shape not in ROUND_SHAPES and abs(_turn(sights, fps)) > _SEEN_TURN:
        return "spin"
    return "still"


def _clearest(track: Track) -> tuple[Sequence[Sight], list[list[Sight]]]:
    """Sights of all of it with their runs, where they last long enough to tell; otherwise all sights."""
    runs = _runs(track.sights)
    if track.whole_sights:
        whole_runs = _runs(track.whole_sights)
        if max(map(len, whole_runs)) > max(_FEWEST, _LONG_ENOUGH * max(map(len, runs))):
            return track.whole_sights, whole_runs
    return track.sights, runs


def _runs(sights: Sequence[Sight]) -> list[list[Sight]]:
    """Sights in frames that follow each other: between runs it may have left and come back elsewhere."""
    runs = [[sights[0]]]
    for before, sight in pairwise(sights):
        if sight.frame == before.frame + 1:
            runs[-1].append(sight)
        else:
            runs.append([sight])
    return runs


def _places(sights: Sequence[Sight], track: Track) -> Places:
    return np.array([sight.center for sight in sights]) / min(track.picture_size)


def _travel(steps: Places, longest: Places, track: Track) -> str:
    """The motion of what goes somewhere: along a circle, up and down, or one way."""
    length, width = _extent(longest)
    if width > _BENT * length:
        return "circle"
    right, down = steps.sum(0)
    came = float(np.hypot(right, down))
    went = float(np.hypot(*steps.T).sum())
    if came < _STRAIGHT * went:
        return "bounce"
    # Ways to opposite borders take the same time: a diagonal one leads along the diagonal of the picture.
    across, along = (side / min(track.picture_size) for side in track.picture_size)
    angle = float(np.arctan2(down / along, right / across))
    way_of = {name: np.arctan2(down, right) for name, (right, down) in DIRECTIONS.items()}
    return min(way_of, key=lambda name: _apart(angle, way_of[name]))


def _extent(places: Places) -> tuple[float, float]:
    """Length and width of the region that a path fills."""
    if len(places) < 2:
        return 0.0, 0.0
    from_middle = places - places.mean(0)
    axes = np.linalg.svd(from_middle, full_matrices=False)[2]
    length, width = np.ptp(from_middle @ axes.T, axis=0)
    return float(length), float(width)


def _growth(sights: Sequence[Sight]) -> float:
    """How many times larger it is at the end."""
    first, last = (np.mean([sight.radius for sight in part]) for part in (sights[:2], sights[-2:]))
    return float(last / max(first, 1e-6))


def _turn(sights: Sequence[Sight], fps: float) -> float:
    """Degrees that it turned in all, clockwise."""
    stride = max(round(fps / _LOOKS_PER_SECOND), 1)
    profiles = [_profile(sight) for sight in sights[::stride]]
    if len(profiles) < 2 or np.mean([profile.std() for profile in profiles]) < _UNEVEN:
        return 0.0
    return float(sum(_turn_between(before, after) for before, after in pairwise(profiles)))


def _profile(sight: Sight) -> NDArray[np.float64]:
    """How far it reaches in each direction, 1 on average."""
    angles = np.arange(_NUM_ANGLES) * 2.0 * np.pi / _NUM_ANGLES
    radii = np.linspace(0.2, 2.4, 48) * sight.radius
    height, width = sight.cover_HW.shape
    columns = np.rint(sight.center[0] + np.outer(np.cos(angles), radii)).astype(int)
    rows = np.rint(sight.center[1] + np.outer(np.sin(angles), radii)).astype(int)
    is_inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    cover = sight.cover_HW[rows.clip(0, height - 1), columns.clip(0, width - 1)] * is_inside
    reach = (cover * radii).sum(1)
    return reach / max(float(reach.mean()), 1e-6)


def _turn_between(before: NDArray[np.float64], after: NDArray[np.float64]) -> float:
    """Degrees by which one profile must be turned to look like the other; the least that does."""
    most = int(_LARGEST_TURN / 360.0 * _NUM_ANGLES)
    shifts = range(-most, most + 1)
    likeness = [float((np.roll(before, shift) * after).mean()) - 1e-4 * abs(shift) for shift in shifts]
    return shifts[int(np.argmax(likeness))] * 360.0 / _NUM_ANGLES


def _apart(one: float, other: float) -> float:
    """The angle between two directions."""
    return float(abs((one - other + np.pi) % (2.0 * np.pi) - np.pi))
