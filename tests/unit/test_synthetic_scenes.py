"""Scenes drawn by lot, and the words for them."""

import hashlib
import re
from dataclasses import replace

import pytest

from reelwright.core.errors import ConfigError
from reelwright.data.synthetic.checking import check_options
from reelwright.data.synthetic.describing import background_colors, describe, is_seen
from reelwright.data.synthetic.rendering import render
from reelwright.data.synthetic.scene import SceneOptions
from reelwright.data.synthetic.simple_captions import simple_captions
from reelwright.data.synthetic.vocabulary import COLORS, MOTIONS, PLACES, SHAPES, WALLS
from reelwright.data.synthetic.wording import DETAILS, caption

MANY = [describe(5, index) for index in range(1000)]
CAMERA_WORDS = {
    "pan left": "left",
    "pan right": "right",
    "pan up": r"\bup|upward",
    "pan down": r"\bdown|downward",
    "zoom in": "zooms in|closer",
    "zoom out": "zooms out|back",
}


def named(text: str) -> list[tuple[str, str]]:
    """Every shape in a caption with the word before it."""
    return re.findall(rf"(\w+) ({'|'.join(SHAPES)})\b", text)


def test_a_scene_is_the_same_whatever_was_drawn_before_it():
    backward = [describe(3, index) for index in (17, 2, 0)]
    forward = [describe(3, index) for index in range(18)]
    assert backward == [forward[17], forward[2], forward[0]]


def test_scene_17_of_seed_3_is_the_one_it_has_always_been():
    thing = describe(3, 17).objects[0]
    assert (thing.shape, thing.color, thing.motion, thing.start) == (
        "house",
        "white",
        "left",
        (0.7444, 0.6952),
    )


def test_other_seeds_give_other_scenes():
    assert describe(3, 17) != describe(4, 17)
    assert describe(3, 17).objects != describe(4, 17).objects


def test_no_two_of_a_thousand_scenes_are_equal_nor_look_equal():
    assert len({replace(scene, index=0, phrasing=0) for scene in MANY}) == 1000
    assert len({render(scene, 0.5, (32, 32)).tobytes() for scene in MANY}) == 1000


def test_every_word_of_the_vocabulary_is_used():
    things = [thing for scene in MANY for thing in scene.objects]
    assert {thing.shape for thing in things} == set(SHAPES)
    assert {thing.color for thing in things} == set(COLORS)
    assert {thing.motion for thing in things} == set(MOTIONS)
    assert {scene.background.kind for scene in MANY} == {*WALLS, *PLACES}
    assert {scene.camera.move for scene in MANY} == {"static", *CAMERA_WORDS}
    assert {len(scene.objects) for scene in MANY} == {1, 2, 3}


def test_objects_of_a_scene_differ_in_color_and_stand_out_from_the_background():
    for scene in MANY:
        colors = [COLORS[thing.color] for thing in scene.objects]
        assert len(set(colors)) == len(colors)
        for color in colors:
            for behind in background_colors(scene.background):
                assert max(abs(one - other) for one, other in zip(color, behind, strict=True)) > 50


@pytest.mark.parametrize("most", [1, 2, 3])
def test_there_are_at_most_as_many_objects_as_asked_for(most):
    counts = {len(describe(1, index, SceneOptions(max_objects=most)).objects) for index in range(60)}
    assert counts == set(range(1, most + 1))


def test_the_camera_can_be_kept_still():
    moves = {describe(1, index, SceneOptions(camera=False)).camera.move for index in range(60)}
    assert moves == {"static"}


def test_speed_changes_the_pace_and_nothing_else():
    slow, usual = describe(1, 3, SceneOptions(speed=0.25)), describe(1, 3)
    assert [thing.pace for thing in slow.objects] == [thing.pace / 4 for thing in usual.objects]
    assert [replace(thing, pace=0) for thing in slow.objects] == [
        replace(thing, pace=0) for thing in usual.objects
    ]


@pytest.mark.parametrize("detail", DETAILS)
def test_captions_name_exactly_the_objects_present(detail):
    for scene in MANY:
        present = [(thing.color, thing.shape) for thing in scene.objects]
        for is_moving in (True, False):
            assert named(caption(scene, detail, is_moving=is_moving)) == present


@pytest.mark.parametrize("detail", DETAILS)
def test_captions_tell_of_each_motion_and_of_a_still_picture_none(detail):
    phrases = [phrase for choices in MOTIONS.values() for phrase in choices]
    for scene in MANY[:300]:
        moving = caption(scene, detail)
        assert all(any(phrase in moving for phrase in MOTIONS[thing.motion]) for thing in scene.objects)
        still = caption(scene, detail, is_moving=False)
        assert not any(phrase in still for phrase in phrases)
        assert "camera" not in still


@pytest.mark.parametrize("detail", ["medium", "long"])
def test_captions_tell_what_the_camera_does_and_only_that(detail):
    for scene in MANY[:300]:
        said = re.search(r"[Tt]he camera [^.]*", caption(scene, detail))
        if scene.camera.move == "static":
            assert said is None if detail == "medium" else re.search("still|not move", said.group())
        else:
            assert re.search(CAMERA_WORDS[scene.camera.move], said.group())


def test_captions_get_longer_with_detail_and_come_in_many_phrasings():
    lengths = [sum(len(caption(scene, detail)) for scene in MANY) for detail in DETAILS]
    assert lengths == sorted(lengths)
    scene = MANY[0]
    assert len({caption(replace(scene, phrasing=number)) for number in range(50)}) > 3


def test_captions_are_written_as_english_is():
    for scene in MANY:
        for detail in DETAILS:
            text = caption(scene, detail)
            assert not re.search(r"\ba [aeiou]|\ban [^aeiou]|  |\{|\}", text, re.IGNORECASE)
            assert (text[0].isupper() and text.endswith(".")) == (detail != "short")


def test_a_short_caption_of_one_object_is_one_that_the_embedded_tokenizers_know():
    known = set(simple_captions())
    scene = next(
        scene
        for scene in MANY
        if len(scene.objects) == 1
        and scene.background.kind == "grass"
        and scene.objects[0].motion == "left"
        and scene.objects[0].shape in SHAPES[:11]
    )
    assert caption(scene, "short") in known


def test_the_captions_that_embedded_tokenizers_are_made_of_never_change():
    text = "\n".join(simple_captions())
    digest = "721197d8b1a444af68713611408df32c800a9377ca8093483e374fe9582fd28e"
    assert hashlib.sha256(text.encode()).hexdigest() == digest


def test_only_the_words_that_are_allowed_are_drawn():
    options = SceneOptions(
        shapes=("ball", "star"), colors=("purple", "red"), motions=("circle",), backgrounds=("plain", "grass")
    )
    scenes = [describe(5, index, options) for index in range(200)]
    things = [thing for scene in scenes for thing in scene.objects]
    assert {thing.shape for thing in things} == {"ball", "star"}
    assert {thing.color for thing in things} == {"purple", "red"}
    assert {thing.motion for thing in things} == {"circle"}
    assert {scene.background.kind for scene in scenes} == {"plain", "grass"}
    assert all(scene.objects for scene in scenes)
    moving = {scene.background.kind for scene in scenes if scene.camera.move != "static"}
    assert moving == {"grass"}, "one cannot see a camera move before a plain wall"


def test_what_goes_somewhere_is_not_drawn_under_a_moving_camera_though_it_alone_is_allowed():
    scenes = [describe(5, index, SceneOptions(motions=("left",))) for index in range(100)]
    assert {scene.camera.move for scene in scenes} == {"static"}
    assert {thing.motion for scene in scenes for thing in scene.objects} == {"left"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (SceneOptions(colors=("purpel",)), "colors: 'purpel' is no such word. Did you mean purple?"),
        (SceneOptions(shapes=("bal",), motions=("cirle",)), "motions: 'cirle' is no such word."),
        (SceneOptions(colors=("white",), backgrounds=("snow",)), "snow: white would not stand out"),
    ],
    ids=["color", "several", "hidden"],
)
def test_words_that_nobody_knows_and_scenes_that_nobody_sees_are_refused(options: SceneOptions, said: str):
    with pytest.raises(ConfigError, match=re.escape(said)):
        check_options(options)


def test_only_objects_of_the_wanted_sizes_are_drawn():
    options = SceneOptions(sizes=("usual", "large"), camera=False)
    sizes = {thing.size for index in range(80) for thing in describe(3, index, options).objects}
    assert sizes == {"", "large"}


def test_unseen_combinations_are_a_tenth_and_never_among_the_seen():
    seen, unseen = (
        SceneOptions(combinations=kind, colors=("red", "blue", "green"), motions=("left", "up", "still"))
        for kind in ("seen", "unseen")
    )
    kept, left_out = (
        {
            (thing.shape, thing.color, thing.motion)
            for index in range(600)
            for thing in describe(3, index, options).objects
        }
        for options in (seen, unseen)
    )
    assert left_out
    assert not kept & left_out
    assert len(kept | left_out) == 3 * 3 * len(SHAPES)
    everything = [is_seen(shape, color, motion) for shape in SHAPES for color in COLORS for motion in MOTIONS]
    assert 0.08 < 1 - sum(everything) / len(everything) < 0.12


def test_scenes_of_all_combinations_are_the_ones_that_were_always_drawn():
    assert describe(4, 2, SceneOptions(combinations="all")) == describe(4, 2)
