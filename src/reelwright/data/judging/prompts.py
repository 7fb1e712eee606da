"""What a prompt says of a scene, in the words of the vocabulary; what it does not say stays open."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest

from reelwright.data.synthetic.vocabulary import (
    CAMERA_MOVES,
    COLORS,
    MOTIONS,
    PLACES,
    SHAPES,
    TONES,
    WALLS,
)


@dataclass(frozen=True, kw_only=True)
class ThingSaid:
    """An object as a prompt tells of it; empty where it says nothing."""

    shape: str = ""
    color: str = ""
    motion: str = ""


@dataclass(frozen=True, kw_only=True)
class SceneSaid:
    """All that a prompt tells of a scene and that can be judged."""

    things: tuple[ThingSaid, ...] = ()
    background: str = ""
    """`grass`, `plain cream`, `gradient cream to beige`; empty where nothing is said."""


def read_prompt(prompt: str) -> SceneSaid:
    """The objects, with colors, shapes and motions, and the background that a prompt names."""
    text = " ".join(prompt.lower().split())
    text = _ALL_CAMERA_MOVES.sub(" ", text)
    background = ""
    for name, pattern in _BACKGROUNDS:
        if found := pattern.search(text):
            background = name_background(name, found.groups())
            text = f"{text[: found.start()]} {text[found.end() :]}"
            break
    return SceneSaid(things=tuple(_things(text)), background=background)


def name_background(kind: str, tones: tuple[str, ...] = ()) -> str:
    """What a background is called: with its tones, which have an order only where one is above the other."""
    if kind == "gradient":
        return f"gradient {' to '.join(tones)}"
    return " ".join([kind, " and ".join(sorted(tones))]).strip()


def _things(text: str) -> Iterator[ThingSaid]:
    """Each object with the words after it, up to the next one, in which its motion is looked for."""
    found = list(_THING.finditer(text))
    for match, following in zip_longest(found, found[1:]):
        end = following.start() if following else len(text)
        color = match.group("color") or match.group("alone") or ""
        yield ThingSaid(
            shape=match.group("shape") or "", color=color, motion=_motion(text[match.end() : end])
        )


def _motion(words: str) -> str:
    """The motion whose phrase is the longest: `moves up and to the left` holds `moves up`."""
    found = [
        (len(phrase), motion)
        for motion, phrases in MOTIONS.items()
        for phrase in phrases
        if re.search(rf"\b{re.escape(phrase)}\b", words)
    ]
    return max(found)[1] if found else ""


def _any_of(words: Mapping[str, object] | tuple[str, ...]) -> str:
    return "|".join(map(re.escape, sorted(words, key=len, reverse=True)))


def _walls() -> Iterator[tuple[str, re.Pattern[str]]]:
    tone = f"({_any_of(TONES)})"
    for kind, phrases in WALLS.items():
        for phrase in phrases:
            yield kind, re.compile(rf"\b{phrase.format(tone, tone)}\b")


_SHAPE, _COLOR = _any_of(SHAPES), _any_of(COLORS)
_THING = re.compile(rf"\b(?:(?P<color>{_COLOR}) )?(?P<shape>{_SHAPE})\b|\b(?P<alone>{_COLOR})\b")
_ALL_CAMERA_MOVES = re.compile(_any_of(tuple(phrase for many in CAMERA_MOVES.values() for phrase in many)))
_BACKGROUNDS = (
    *_walls(),
    *((kind, re.compile(rf"\b{re.escape(phrase)}\b")) for kind, (phrase, *_) in PLACES.items()),
)
