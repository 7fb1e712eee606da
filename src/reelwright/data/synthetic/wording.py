"""What a synthetic scene shows, in English."""

from collections.abc import Sequence
from random import Random
from typing import Literal

from reelwright.data.synthetic.scene import Background, SceneDescription, SceneObject
from reelwright.data.synthetic.vocabulary import CAMERA_MOVES, DIRECTIONS, MOTIONS, PLACES, WALLS

Detail = Literal["short", "medium", "long"]
DETAILS: tuple[Detail, ...] = ("short", "medium", "long")

_SLOW, _FAST = 0.38, 0.52
_MIDDLE = 0.4
"""Nearer to the middle than this, nobody would say left or right."""


def caption(scene: SceneDescription, detail: Detail = "medium", *, is_moving: bool = True) -> str:
    """A caption in one of several phrasings, which follow from the scene.

    short: "a red ball moves left on grass". medium: a sentence, with sizes and what the camera does. long:
    a sentence for each object, with where it begins and how fast it goes, and one for the camera. Without
    `is_moving` it is a caption of the first frame alone.
    """
    words = Random(f"words {scene.phrasing}")
    phrases = [_phrase(thing, words, detail, is_moving=is_moving) for thing in scene.objects]
    if detail == "short":
        return f"{_joined(phrases)} {_background(scene.background, words, is_short=True)}"
    first = 1 if detail == "long" else len(phrases)
    sentences = [_scenery(_joined(phrases[:first]), scene.background, words), *phrases[first:]]
    if is_moving and (detail == "long" or scene.camera.move != "static"):
        sentences.append(_one_of(words, CAMERA_MOVES[scene.camera.move]))
    return " ".join(f"{sentence[0].upper()}{sentence[1:]}." for sentence in sentences)


def _scenery(things: str, background: Background, words: Random) -> str:
    where = _background(background, words, is_short=False)
    return f"{where}, {things}" if words.random() < 0.4 else f"{things} {where}"


def _background(background: Background, words: Random, *, is_short: bool) -> str:
    if background.kind in PLACES:
        return PLACES[background.kind][0]
    choices = WALLS[background.kind]
    return (choices[0] if is_short else _one_of(words, choices)).format(*background.tones)


def _phrase(thing: SceneObject, words: Random, detail: Detail, *, is_moving: bool) -> str:
    """What an object is and does, with as much as the detail asks for."""
    size = "" if detail == "short" else thing.size
    parts = [_with_article(" ".join(filter(None, (size, thing.color, thing.shape))))]
    if detail == "long":
        parts.append(_place(thing))
    if is_moving:
        motions = MOTIONS[thing.motion]
        parts += [_manner(thing)] if detail == "long" else []
        parts.append(motions[0] if detail == "short" else _one_of(words, motions))
    return " ".join(filter(None, parts))


def _place(thing: SceneObject) -> str:
    """Where it begins."""
    x, y = thing.start
    side = "" if abs(x) < _MIDDLE else "left" if x < 0 else "right"
    height = "" if abs(y) < _MIDDLE else "top" if y < 0 else "bottom"
    if height:
        return f"at the {height} {side}".rstrip()
    return f"on the {side}" if side else "in the middle"


def _manner(thing: SceneObject) -> str:
    """How fast it goes or turns."""
    if thing.motion not in DIRECTIONS and thing.motion != "spin":
        return ""
    return "slowly" if thing.pace < _SLOW else "quickly" if thing.pace > _FAST else ""


def _with_article(name: str) -> str:
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def _joined(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _one_of(words: Random, choices: Sequence[str]) -> str:
    return choices[int(words.random() * len(choices))]
