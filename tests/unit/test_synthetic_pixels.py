"""The truth about synthetic clips against their pixels."""

import re

import numpy as np
import pytest
import torch
from PIL import Image

from reelwright.data.synthetic.coverage import coverage
from reelwright.data.synthetic.describing import background_colors, describe
from reelwright.data.synthetic.outlines import area, outline
from reelwright.data.synthetic.rendering import render, render_clip, truth
from reelwright.data.synthetic.scene import Background, Camera, SceneDescription, SceneObject, SceneOptions
from reelwright.data.synthetic.vocabulary import COLORS, SHAPES
from reelwright.data.synthetic.wording import caption

SIZE = (144, 96)
SHADES = np.linspace(0.85, 1.15, 5)
DIRECTIONS = {
    r"\bleft\b": (0, -1),
    r"\bright\b": (0, 1),
    r"\b(up|rises|upward)\b": (1, -1),
    r"\b(down|falls|downward)\b": (1, 1),
}
"""Words of captions -> axis and sign of the movement."""


def ball(**values):
    usual = {"shape": "ball", "color": "red", "size": "", "radius": 0.2, "start": (0.0, 0.0)}
    return SceneObject(**{**usual, "motion": "still", "pace": 1.0, **values})


def scene_of(*objects, camera=None, kind="plain", tones=("cream",)):
    return SceneDescription(
        seed=0,
        index=0,
        objects=objects,
        camera=camera or Camera(),
        background=Background(kind=kind, tones=tones),
        phrasing=0,
    )


def distance(frame, color):
    """How far each pixel is from a color in any of the shades that light gives it."""
    lit = np.clip(np.array(color) * SHADES[:, None], 0, 255).astype(np.int16)
    return np.min([np.abs(frame.astype(np.int16) - each).max(-1) for each in lit], axis=0)


def centroid(frame, scene, number):
    """The middle of the pixels that have an object's color rather than any other of the scene."""
    colors = [COLORS[thing.color] for thing in scene.objects]
    distances = [distance(frame, each) for each in (*colors, *background_colors(scene.background))]
    is_it = (np.argmin(distances, 0) == number) & (distances[number] < 30)
    rows, columns = np.nonzero(is_it)
    return np.array([columns.mean() + 0.5, rows.mean() + 0.5])


def clear_scenes(number, **options):
    """Scenes in which colors tell objects and background apart, shaded or not."""
    found = []
    for index in range(1000):
        scene = describe(11, index, SceneOptions(**options))
        colors = [COLORS[thing.color] for thing in scene.objects]
        others = [*colors, *background_colors(scene.background)]
        pixels = np.array(others, float)[None]
        # Between two colors there may be gray: at their edges it is nobody's.
        is_clear = not any(thing.color == "gray" for thing in scene.objects)
        if is_clear and all((distance(pixels, color)[0] > 60).sum() == len(others) - 1 for color in colors):
            found.append(scene)
        if len(found) == number:
            return found
    raise AssertionError("too few scenes")


def test_every_object_is_where_the_truth_says():
    num_checked = 0
    for scene in clear_scenes(25):
        told = truth(scene, SIZE, 4, 5)
        for frame_told in told["frames"]:
            frame = render(scene, frame_told["time"], SIZE)
            for number, thing in enumerate(frame_told["objects"]):
                if thing["visible"] > 0.999:
                    error = np.abs(centroid(frame, scene, number) - thing["center"]).max()
                    assert error < 1.5, (scene, frame_told, number)
                    num_checked += 1
    assert num_checked > 100


def test_the_motion_in_the_caption_is_the_movement_of_the_pixels():
    seen = set()
    for scene in clear_scenes(50, max_objects=1, camera=False):
        words = caption(scene, "medium")
        wanted = [move for pattern, move in DIRECTIONS.items() if re.search(pattern, words)]
        if "up and down" in words or not wanted:
            continue
        moved = centroid(render(scene, 0.4, SIZE), scene, 0) - centroid(render(scene, 0.0, SIZE), scene, 0)
        for axis in (0, 1):
            sign = dict(wanted).get(axis, 0)
            assert moved[axis] * sign > 3 if sign else abs(moved[axis]) < 1.5, words
        seen.update(wanted)
    assert len(seen) == 4


@pytest.mark.parametrize(("motion", "grows"), [("grow", True), ("shrink", False)])
def test_what_grows_covers_more_and_what_shrinks_less(motion, grows):
    scene = scene_of(ball(motion=motion, radius=0.15))
    counts = [(distance(render(scene, time, SIZE), COLORS["red"]) < 30).sum() for time in (0.0, 0.5, 1.5)]
    assert counts == sorted(counts, reverse=not grows)
    assert abs(counts[2] - counts[0]) > 150


def test_what_spins_turns_by_its_pace():
    scene = scene_of(ball(shape="square", motion="spin", pace=0.5))
    start, eighth, quarter = (render(scene, time, SIZE).astype(int) for time in (0.0, 0.25, 0.5))
    assert np.abs(start - quarter).max() <= 1, "half a turn per second: a quarter after half a second"
    assert np.abs(start - eighth).max() > 100


def test_what_leaves_comes_back_from_the_other_side():
    scene = scene_of(ball(motion="left", pace=1.0))
    centers = [frame["objects"][0]["center"][0] for frame in truth(scene, SIZE, 4, 20)["frames"]]
    steps = np.diff(centers)
    assert (steps < 0).sum() >= 17
    (jumps,) = np.nonzero(steps > 0)
    for jump in jumps:
        seen = [truth(scene, SIZE, 4, 20)["frames"][jump + side]["objects"][0]["visible"] for side in (0, 1)]
        assert min(seen) < 0.5


@pytest.mark.parametrize(
    ("move", "shift"),
    [("pan left", (1, 0)), ("pan right", (-1, 0)), ("pan up", (0, 1)), ("pan down", (0, -1))],
)
@pytest.mark.parametrize("kind", ["checkerboard", "clouded", "grass"])
def test_a_pan_shifts_the_background_the_other_way_by_what_is_told(move, shift, kind):
    tones = () if kind == "grass" else ("cream", "dark gray")
    scene = scene_of(camera=Camera(move=move, pace=0.8, reach=0.3), kind=kind, tones=tones)
    told = truth(scene, SIZE, 2, 2)["frames"][1]["camera"]["offset"]
    assert np.array_equal(np.sign(told), -np.array(shift))
    before, after = (render(scene, time, SIZE).astype(float).mean(-1) for time in (0.0, 0.5))
    errors = {}
    for pixels in range(25):
        columns, rows = (pixels * step for step in shift)
        moved = np.roll(before, (rows, columns), (0, 1))
        errors[pixels] = np.abs(moved - after)[25:-25, 25:-25].mean()
    assert min(errors, key=errors.get) == pytest.approx(np.abs(told).max(), abs=1)


@pytest.mark.parametrize(("move", "closer"), [("zoom in", True), ("zoom out", False)])
def test_a_zoom_enlarges_the_whole_picture_by_what_is_told(move, closer):
    camera = Camera(move=move, pace=0.8, reach=0.6)
    scene = scene_of(ball(), camera=camera, kind="checkerboard", tones=("cream", "dark gray"))
    zoom = truth(scene, SIZE, 1, 2)["frames"][1]["camera"]["zoom"]
    assert (zoom > 1) == closer
    far, near = (render(scene, time, SIZE) for time in ((0.0, 1.0) if closer else (1.0, 0.0)))
    factor = zoom if closer else 1 / zoom
    width, height = (side / factor for side in SIZE)
    left, top = (SIZE[0] - width) / 2, (SIZE[1] - height) / 2
    box = (left, top, left + width, top + height)
    enlarged = np.asarray(Image.fromarray(far).resize(SIZE, Image.Resampling.BILINEAR, box=box), float)
    assert np.abs(enlarged - near).mean() < 0.2 * np.abs(far.astype(float) - near).mean()


def test_what_is_behind_another_is_told_to_be_hidden():
    behind, before = ball(radius=0.1), ball(color="blue")
    told = truth(scene_of(behind, before), SIZE, 1, 1)["frames"][0]["objects"]
    assert [thing["visible"] for thing in told] == [0.0, pytest.approx(1.0, abs=0.01)]
    frame = render(scene_of(behind, before), 0.0, SIZE)
    assert (distance(frame, COLORS["red"]) < 30).sum() == 0


def test_what_is_half_outside_is_told_to_be_half_seen():
    half_out = ball(motion="right", start=(1.0, 0.0), pace=0.2 / 0.75)
    told = truth(scene_of(half_out), SIZE, 1, 2)["frames"]
    assert [frame["objects"][0]["visible"] for frame in told] == pytest.approx([1.0, 0.5], abs=0.02)


def test_sizes_are_those_of_the_pixels():
    scene = scene_of(ball(shape="car", radius=0.3))
    (told,) = truth(scene, SIZE, 1, 1)["frames"][0]["objects"]
    rows, columns = np.nonzero(distance(render(scene, 0.0, SIZE), COLORS["red"]) < 60)
    assert [np.ptp(columns) + 1, np.ptp(rows) + 1] == pytest.approx(told["size"], abs=1.5)


@pytest.mark.parametrize("index", range(8))
def test_another_rate_shows_the_same_motion(index):
    scene = describe(2, index)
    slow, fast = (torch.cat([*render_clip(scene, (64, 64), fps, fps + 1)]) for fps in (8, 24))
    assert torch.equal(slow, fast[::3])


@pytest.mark.parametrize("index", range(8))
def test_another_size_shows_the_same_picture(index):
    scene = describe(2, index)
    small, large = (render(scene, 0.7, (side, side)) for side in (64, 256))
    reduced = np.asarray(Image.fromarray(large).resize((64, 64), Image.Resampling.BOX), float)
    assert np.abs(reduced - small).mean() < 3


def test_a_clip_is_its_frames_and_each_time_the_same():
    scene = describe(2, 5)
    clip = torch.cat([*render_clip(scene, SIZE, 10, 11)])
    frames = np.stack([render(scene, number / 10, SIZE) for number in range(11)])
    assert (clip.dtype, list(clip.shape)) == (torch.uint8, [11, 96, 144, 3])
    assert np.array_equal(clip.numpy(), frames)


@pytest.mark.parametrize("size", [(16, 16), (17, 33), (640, 48), (48, 640)], ids=str)
def test_any_size_can_be_drawn_and_shows_every_object(size):
    for index in range(6):
        scene = describe(4, index)
        (frame,) = truth(scene, size, 1, 1)["frames"]
        assert render(scene, 0.0, size).shape == (size[1], size[0], 3)
        assert min(thing["visible"] for thing in frame["objects"]) > 0.3


@pytest.mark.parametrize("shape", SHAPES)
def test_outlines_have_their_center_of_area_at_zero_and_reach_to_one(shape):
    contours = outline(shape)
    assert max(np.hypot(*contour.T).max() for contour in contours) == pytest.approx(1.0)
    mask = coverage([contour * 90.0 + 100.0 for contour in contours], (200, 200))
    left, top, _, _ = mask.box
    rows, columns = np.indices(mask.covered_HW.shape) + 0.5
    weight = mask.covered_HW / mask.covered_HW.sum()
    middle = [(weight * columns).sum() + left, (weight * rows).sum() + top]
    assert middle == pytest.approx([100.0, 100.0], abs=0.3)
    assert mask.covered_HW.sum() == pytest.approx(area(contours) * 90.0**2, rel=0.01)


def test_a_ball_covers_what_a_disc_covers():
    mask = coverage([outline("ball")[0] * 40.0 + 50.25], (100, 100))
    rows, columns = np.indices((100, 100))
    fine = (np.arange(8) + 0.5) / 8
    y, x = rows[..., None, None] + fine[:, None], columns[..., None, None] + fine
    inside = ((x - 50.25) ** 2 + (y - 50.25) ** 2 <= 40.0**2).mean((-1, -2))
    drawn = np.zeros((100, 100))
    drawn[mask.slices] = mask.covered_HW
    assert np.abs(drawn - inside).max() < 0.2
    assert np.abs(drawn - inside).mean() < 0.002


def test_what_is_outside_the_picture_covers_nothing():
    assert coverage([outline("star")[0] * 10.0 - 50.0], (64, 64)).covered_HW.size == 0
