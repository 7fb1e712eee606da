"""Captions of simple scenes: what the tokenizers of tiny models are made of."""

from collections.abc import Iterator
from itertools import product

from reelwright.data.synthetic.vocabulary import COLORS, MOTIONS, PLACES, SHAPES

# Embedded tokenizers depend on every word and on their order: what the vocabulary gains at its end stays out.
_COLORS = tuple(COLORS)[:11]
_SHAPES = SHAPES[:11]
_MOTIONS = (
    *(MOTIONS[name][0] for name in ("left", "right", "up", "down", "bounce", "spin", "grow")),
    "rolls over the floor",
)
_PLACES = tuple(words for words, *_ in PLACES.values())[:6]


def simple_captions() -> Iterator[str]:
    for color, shape, motion, place in product(_COLORS, _SHAPES, _MOTIONS, _PLACES):
        yield f"a {color} {shape} {motion} {place}"
