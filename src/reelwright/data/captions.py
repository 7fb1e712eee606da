"""Captions of simple scenes: what the tokenizers of tiny models are made of."""

from collections.abc import Iterator
from itertools import product

_COLORS = ("red", "green", "blue", "yellow", "orange", "purple", "white", "black", "gray", "pink", "cyan")
_SHAPES = ("ball", "square", "triangle", "star", "ring", "cross", "fox", "car", "boat", "bird", "house")
_MOTIONS = (
    "moves left",
    "moves right",
    "rises",
    "falls",
    "bounces",
    "spins",
    "grows",
    "rolls over the floor",
)
_PLACES = ("on grass", "on a dark floor", "in the snow", "in a blue sky", "on sand", "at night")


def simple_captions() -> Iterator[str]:
    for color, shape, motion, place in product(_COLORS, _SHAPES, _MOTIONS, _PLACES):
        yield f"a {color} {shape} {motion} {place}"
