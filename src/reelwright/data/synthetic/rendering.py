"""Scenes to pixels, and to the truth about them."""

import math
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reelwright.data.synthetic.backgrounds import Plane, paint
from reelwright.data.synthetic.coverage import Mask, coverage
from reelwright.data.synthetic.motion import Pose, View, half_extent, pose_at, view_at
from reelwright.data.synthetic.outlines import Points, area, outline
from reelwright.data.synthetic.scene import SceneDescription
from reelwright.data.synthetic.vocabulary import COLORS
from reelwright.media.frame_chunks import Pixels
from reelwright.media.geometry import Size

_CHUNK = 8
_LIGHT = 0.16


def render(scene: SceneDescription, time: float, size: Size) -> Pixels:
    """The frame after so many seconds: uint8 [H, W, 3]."""
    return _finish(scene, _backdrop(scene, time, size), time, size)


def render_clip(scene: SceneDescription, size: Size, fps: float, num_frames: int) -> Iterator[Tensor]:
    """The frames at times 0, 1 / fps, ... as uint8 chunk_FHWC."""
    # Nothing behind the objects changes without the camera.
    still = _backdrop(scene, 0.0, size) if scene.camera.move == "static" else None
    for start in range(0, num_frames, _CHUNK):
        times = [number / fps for number in range(start, min(start + _CHUNK, num_frames))]
        backdrops = (_backdrop(scene, time, size) if still is None else still.copy() for time in times)
        frames = [
            _finish(scene, backdrop, time, size) for backdrop, time in zip(backdrops, times, strict=True)
        ]
        yield torch.from_numpy(np.stack(frames))


def truth(scene: SceneDescription, size: Size, fps: float, num_frames: int) -> dict[str, Any]:
    """All that is known of a clip, as JSON can hold it.

    In pixels from the upper left corner, in which the first pixel's middle is (0.5, 0.5). Of each frame: its
    time in seconds; how far the camera has moved and its zoom; and of each object the center of its area
    (hidden parts count), width and height, and how much of it is seen, from 0 to 1.
    """
    return {
        "width": size[0],
        "height": size[1],
        "fps": fps,
        "num_frames": num_frames,
        "scene": asdict(scene),
        "frames": [_truth_of_frame(scene, number / fps, size) for number in range(num_frames)],
    }


def _backdrop(scene: SceneDescription, time: float, size: Size) -> Plane:
    view = view_at(scene.camera, time)
    x_W, y_H = (
        ((np.arange(count) + 0.5 - count / 2) / (min(size) * view.zoom) + middle).astype(np.float32)
        for count, middle in zip(size, view.middle, strict=True)
    )
    return paint(scene.background, x_W, y_H, half_extent(size)[1]).copy()


def _finish(scene: SceneDescription, frame_HWC: Plane, time: float, size: Size) -> Pixels:
    """Draw the objects over the backdrop."""
    for thing, contours in zip(scene.objects, _contours(scene, time, size), strict=True):
        mask = coverage(contours, size)
        part = frame_HWC[mask.slices]
        color = np.array(COLORS[thing.color], np.float32) * _light(mask)[..., None]
        part += mask.covered_HW[..., None] * (color - part)
    return (frame_HWC.clip(0.0, 255.0) + 0.5).astype(np.uint8)


def _light(mask: Mask) -> Plane:
    """Objects are a little brighter at the upper left."""
    height, width = mask.covered_HW.shape
    rows, columns = (np.linspace(1.0, -1.0, count, dtype=np.float32) for count in (height, width))
    return 1.0 + _LIGHT * (rows[:, None] + columns[None, :]) / 2


def _contours(scene: SceneDescription, time: float, size: Size) -> list[list[Points]]:
    """The outline of each object, in pixels."""
    view, half = view_at(scene.camera, time), half_extent(size)
    return [
        _in_pixels(outline(thing.shape), pose_at(thing, time, half), view, size) for thing in scene.objects
    ]


def _in_pixels(contours: tuple[Points, ...], pose: Pose, view: View, size: Size) -> list[Points]:
    cosine, sine = math.cos(pose.angle), math.sin(pose.angle)
    scale = pose.radius * view.zoom * min(size)
    turn = np.array([[cosine, sine], [-sine, cosine]]) * scale
    if pose.is_mirrored:
        # Points in the opposite order keep the inside on the same side.
        turn, contours = turn * np.array([-1.0, 1.0]), tuple(contour[::-1] for contour in contours)
    center = _center_in_pixels(pose, view, size)
    return [contour @ turn + center for contour in contours]


def _center_in_pixels(pose: Pose, view: View, size: Size) -> Points:
    from_middle = (np.array(pose.center) - np.array(view.middle)) * view.zoom * min(size)
    return from_middle + np.array(size) / 2


def _truth_of_frame(scene: SceneDescription, time: float, size: Size) -> dict[str, Any]:
    view, half = view_at(scene.camera, time), half_extent(size)
    all_contours = _contours(scene, time, size)
    centers = [_center_in_pixels(pose_at(thing, time, half), view, size) for thing in scene.objects]
    visible = _visible(all_contours, size)
    return {
        "time": round(time, 6),
        "camera": {
            "offset": [round(place * min(size), 3) for place in view.middle],
            "zoom": round(view.zoom, 6),
        },
        "objects": [
            {
                "center": [round(float(place), 3) for place in center],
                "size": [round(float(length), 3) for length in np.ptp(np.concatenate(contours), 0)],
                "visible": round(seen, 4),
            }
            for center, contours, seen in zip(centers, all_contours, visible, strict=True)
        ],
    }


def _visible(all_contours: list[list[Points]], size: Size) -> list[float]:
    """How much of each object is inside the picture and not behind others."""
    uncovered = np.ones((size[1], size[0]), np.float32)
    seen: list[float] = []
    for contours in reversed(all_contours):
        mask = coverage(contours, size)
        seen.append(min(float((mask.covered_HW * uncovered[mask.slices]).sum()) / area(contours), 1.0))
        uncovered[mask.slices] *= 1.0 - mask.covered_HW
    return seen[::-1]
