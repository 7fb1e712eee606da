"""Scenes that keep to a grid, and even ones: measured in their clips, in pixels."""

from dataclasses import replace

import numpy as np
import pytest

from reelwright.data.synthetic.describing import describe
from reelwright.data.synthetic.rendering import render, truth
from reelwright.data.synthetic.scene import SceneOptions

CELLS, CELL = 12, 8
SIDE = CELLS * CELL
OPTIONS = SceneOptions(
    max_objects=1, camera=False, motions=("still", "left", "right", "up", "down-left"), grid=CELLS
)


@pytest.mark.parametrize("index", range(12))
def test_objects_stand_between_cells_every_half_second(index):
    scene = describe(3, index, OPTIONS)
    frames = truth(scene, (SIDE, SIDE), 2.0, 5)["frames"]
    places = [frame["objects"][0]["center"] for frame in frames]
    offsets = [coordinate % CELL for place in places for coordinate in place]
    assert max(min(offset, CELL - offset) for offset in offsets) < 0.01
    if scene.objects[0].motion != "still":
        assert places[0] != places[1]


def test_a_size_has_one_radius():
    radii: dict[str, set[float]] = {}
    for index in range(40):
        thing = describe(4, index, OPTIONS).objects[0]
        radii.setdefault(thing.size, set()).add(round(thing.radius * SIDE, 6))
    assert radii == {"small": {12.0}, "": {16.0}, "large": {24.0}}


def test_horizons_lie_between_cells():
    options = SceneOptions(max_objects=1, camera=False, backgrounds=("sea",), grid=CELLS)
    for index in range(6):
        scene = describe(5, index, options)
        # Of each row, as most of its pixels are: textures and the object are left out.
        rows = np.median(render(scene, 0.0, (SIDE, SIDE)).astype(int).sum(-1), axis=1)
        steps = abs(np.diff(rows))
        assert (steps.argmax() + 1) % CELL == 0


def test_without_a_grid_scenes_are_what_they_were():
    scene = describe(0, 1)
    assert scene == describe(0, 1, SceneOptions())
    assert scene.objects[0].radius * CELLS % 0.5 != 0


@pytest.mark.parametrize("place", ["sea", "snow", "sky", "night"])
def test_even_places_have_one_color_above_and_one_below(place):
    def colors_of_rows(*, even: bool) -> set[int]:
        """How many colors a row has in its left and right border, where the object in the middle is not."""
        options = SceneOptions(
            max_objects=1, camera=False, motions=("still",), backgrounds=(place,), even=even
        )
        scene = describe(6, 0, options)
        thing = replace(scene.objects[0], start=(0.0, 0.0))
        borders = render(replace(scene, objects=(thing,)), 0.0, (SIDE, SIDE))[:, [0, 1, 2, -3, -2, -1]]
        return {len(np.unique(row, axis=0)) for row in borders}

    assert colors_of_rows(even=True) == {1}
    assert max(colors_of_rows(even=False)) > 1
