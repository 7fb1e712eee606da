"""What is found in clips, beside the truth that they were drawn from."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from reelwright.data.judging.prompts import SceneSaid, ThingSaid, name_background, read_prompt
from reelwright.data.judging.steadiness import measure_steadiness
from reelwright.data.judging.verdicts import NOTHING, SceneFound, judge, look_at
from reelwright.data.synthetic.describing import describe
from reelwright.data.synthetic.rendering import render_clip
from reelwright.data.synthetic.scene import SceneDescription, SceneOptions
from reelwright.data.synthetic.vocabulary import COLORS, MOTIONS, PLACES, SHAPES
from reelwright.data.synthetic.wording import DETAILS, caption

ALONE = SceneOptions(max_objects=1, camera=False)


def frames(scene: SceneDescription, side: int = 64, num_frames: int = 9, fps: float = 8.0):
    return torch.cat([*render_clip(scene, (side, side), fps, num_frames)]).numpy().astype(np.float32)


def told(scene: SceneDescription) -> SceneSaid:
    """The scene itself in the words of prompts."""
    things = tuple(ThingSaid(shape=it.shape, color=it.color, motion=it.motion) for it in scene.objects)
    return SceneSaid(things=things, background=name_background(scene.background.kind, scene.background.tones))


@pytest.mark.parametrize("detail", DETAILS)
def test_captions_are_read_as_the_scenes_that_they_tell_of(detail):
    for index in range(300):
        scene = describe(5, index)
        assert read_prompt(caption(scene, detail)) == told(scene)


@pytest.mark.parametrize(
    ("prompt", "things", "background"),
    [
        ("A RED Ball", (ThingSaid(color="red", shape="ball"),), ""),
        ("something purple circles around at night", (ThingSaid(color="purple", motion="circle"),), "night"),
        ("the house stands still", (ThingSaid(shape="house", motion="still"),), ""),
        ("a fox rises toward the left", (ThingSaid(shape="fox", motion="up-left"),), ""),
        ("a panda plays a guitar in front of a light blue wall", (), "plain light blue"),
        ("the camera pans left", (), ""),
        ("", (), ""),
    ],
    ids=["color-shape", "color-alone", "shape-alone", "longest-phrase", "tone", "camera", "empty"],
)
def test_what_a_prompt_does_not_say_stays_open(prompt, things, background):
    assert read_prompt(prompt) == SceneSaid(things=things, background=background)


@pytest.mark.parametrize(("side", "count"), [(64, 25), (128, 8)], ids=["64", "128"])
def test_nearly_all_attributes_of_scenes_with_one_object_are_found(side, count):
    scenes = [describe(11, index, ALONE) for index in range(count)]
    verdicts = [
        verdict for scene in scenes for verdict in judge(told(scene), look_at(frames(scene, side), 8))
    ]
    assert len(verdicts) == 4 * count
    assert sum(verdict.is_right for verdict in verdicts) >= 0.95 * len(verdicts)


@pytest.fixture(scope="module")
def crowded() -> list[tuple[SceneDescription, SceneFound]]:
    """Scenes of up to three objects under any camera, and what is found in them."""
    return [(scene, look_at(frames(scene), 8)) for scene in (describe(12, index) for index in range(24))]


def test_nearly_all_attributes_are_found_where_objects_hide_each_other_and_the_camera_moves(crowded):
    verdicts = [verdict for scene, found in crowded for verdict in judge(told(scene), found)]
    named = Counter(verdict.attribute for verdict in verdicts)
    right = Counter(verdict.attribute for verdict in verdicts if verdict.is_right)
    assert right.total() >= 0.95 * named.total()
    assert all(right[name] >= 0.85 * named[name] for name in named)


def test_motions_are_left_out_only_where_the_camera_moves(crowded):
    still = [scene.index for scene, _ in crowded if scene.camera.move == "static"]
    assert [scene.index for scene, found in crowded if not found.camera_moves] == still


def test_a_background_that_flickers_is_not_taken_for_a_camera_that_moves():
    scenes = [describe(11, index, ALONE) for index in range(40)]
    places = [scene for scene in scenes if scene.background.kind in PLACES]
    noise = np.random.default_rng(3)
    for scene in places[:8]:
        unsteady = frames(scene) + noise.normal(0, 8, (9, 8, 8, 3)).repeat(8, 1).repeat(8, 2)
        assert not look_at(unsteady.clip(0, 255).astype(np.float32), 8).camera_moves


@pytest.mark.parametrize("attribute", ["shape", "color", "motion"])
def test_a_wrong_word_is_found_wrong_and_the_right_one_is_told(attribute):
    words = {"shape": SHAPES, "color": tuple(COLORS), "motion": tuple(MOTIONS)}[attribute]
    for index in range(4):
        said = told(describe(11, index, ALONE))
        (thing,) = said.things
        right = getattr(thing, attribute)
        other = words[(words.index(right) + 1) % len(words)]
        wrong = replace(said, things=(replace(thing, **{attribute: other}),))
        verdicts = judge(wrong, look_at(frames(describe(11, index, ALONE)), 8))
        assert [(it.attribute, it.said, it.found) for it in verdicts if not it.is_right] == [
            (attribute, other, right)
        ]


def test_every_attribute_of_what_is_not_there_is_wrong():
    said = read_prompt("a red ball moves left and a blue star moves right in front of a cream wall")
    found = SceneFound(things=(ThingSaid(color="blue", shape="star", motion="right"),), background="grass")
    wrong = [verdict for verdict in judge(said, found) if not verdict.is_right]
    assert [(it.thing, it.attribute, it.found) for it in wrong] == [
        *(("red ball", name, NOTHING) for name in ("color", "shape", "motion")),
        ("", "background", "grass"),
    ]


def test_a_background_that_is_wrong_and_unsteady_is_not_taken_for_a_camera_that_moves():
    said = read_prompt("a red ball moves left in front of a cream wall")
    found = SceneFound(things=(), background="clouded beige and cream", camera_moves=True)
    assert [it.attribute for it in judge(said, found)] == ["color", "shape", "motion", "background"]
    moving = replace(found, background="plain cream")
    assert "motion" not in [it.attribute for it in judge(said, moving)]


def square_at(places: list[tuple[int, int]], shade: tuple[float, ...] = (250.0, 205.0, 40.0)) -> np.ndarray:
    """Frames of a dark wall and a yellow square of 16 pixels, whose lower part is of another shade."""
    frames = np.full((len(places), 64, 64, 3), (80.0, 84.0, 90.0), np.float32)
    for frame, (top, left) in zip(frames, places, strict=True):
        frame[max(top, 0) : top + 16, left : left + 16] = (250.0, 205.0, 40.0)
        frame[top + 8 : top + 16, left : left + 16] = shade
    return frames


def test_the_shaded_part_of_a_thing_is_no_other_thing():
    """The lower part is nearer to bright orange than to dark yellow, and yet nearer to yellow itself."""
    found = look_at(square_at([(24, 8 + 4 * number) for number in range(9)], (243.0, 172.0, 43.0)), 8)
    assert [(thing.color, thing.motion) for thing in found.things] == [("yellow", "right")]


def test_a_thing_that_is_whole_for_a_moment_is_judged_by_all_that_is_seen_of_it():
    """It looks over the upper border but for four frames in which it waits inside."""
    outside = [(-1, left) for left in range(0, 48, 2)]
    places = [*outside[:12], *[(2, 24)] * 4, *outside[12:]]
    (thing,) = look_at(square_at(places), 8).things
    assert thing.motion == "right"


def test_an_empty_wall_has_no_objects():
    wall = np.full((9, 64, 64, 3), (244.0, 232.0, 206.0), np.float32)
    assert look_at(wall, 8) == SceneFound(things=(), background="plain cream")


def test_steady_change_drifts_but_does_not_flicker():
    ramp = np.linspace(0.0, 102.0, 21, dtype=np.float32)[:, None, None, None] * np.ones(
        (1, 8, 8, 3), np.float32
    )
    measured = measure_steadiness(ramp)
    assert measured.flicker == pytest.approx(0.0, abs=1e-4)
    assert measured.drift == pytest.approx(100 * (102 - 2 * 5.1) / 255, abs=1e-3)  # 3 of 21 frames each


def test_every_other_frame_brighter_by_a_tenth_flickers_half_of_that_and_does_not_drift():
    on_and_off = np.zeros((40, 8, 8, 3), np.float32)
    on_and_off[::2] = 25.5
    measured = measure_steadiness(on_and_off)
    assert measured.flicker == pytest.approx(10.0 / 2)
    assert measured.drift == pytest.approx(0.0, abs=1e-4)


def test_a_single_frame_is_steady():
    measured = measure_steadiness(np.ones((1, 8, 8, 3), np.float32))
    assert (measured.flicker, measured.drift) == (0.0, 0.0)
