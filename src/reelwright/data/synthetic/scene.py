"""What there is in a synthetic scene: all that its pixels and captions follow from."""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le

MOST_OBJECTS = 3
NO_TEXTURE = -2
"""One for skies, and the next for grounds."""


@dataclass(frozen=True, kw_only=True)
class SceneOptions:
    """Which scenes may be drawn."""

    max_objects: Annotated[int, Ge(1), Le(MOST_OBJECTS)] = MOST_OBJECTS
    """At most so many objects in a scene."""
    camera: bool = True
    """Move the camera in about a third of the scenes."""
    speed: Annotated[float, Gt(0.0), Le(100.0)] = 1.0
    """How fast everything goes; 0.25 suits clips of five seconds and more."""
    shapes: tuple[str, ...] = ()
    """Only these, such as ball star; all if empty."""
    colors: tuple[str, ...] = ()
    """Only these for objects, such as red blue; all if empty."""
    motions: tuple[str, ...] = ()
    """Only these, such as left up-right circle; all if empty."""
    backgrounds: tuple[str, ...] = ()
    """Only these, such as plain "vertical stripes" grass; all if empty."""
    sizes: tuple[Literal["small", "usual", "large"], ...] = ()
    """Only objects of these sizes; all if empty."""
    grid: Annotated[int, Ge(0), Le(256)] = 0
    """Cells to the side of a square picture, or 0: what moves begins between cells and is a whole number of
    them further each half second, each size has one radius, horizons lie between cells. A small model learns
    such scenes far sooner; best with the cells of its latents."""
    even: bool = False
    """Skies and grounds of one color each, without texture: a small model need not learn what no caption
    tells."""
    combinations: Literal["all", "seen", "unseen"] = "all"
    """Leave out a tenth of all combinations of shape, color and motion (seen), or draw only those (unseen):
    to train on some, and to see what was learned on the others."""


@dataclass(frozen=True, kw_only=True)
class SceneObject:
    """One thing of one color."""

    shape: str
    color: str
    size: str
    """A word of the vocabulary."""
    radius: float
    """At the start, in the shorter side of the picture."""
    start: tuple[float, float]
    """Where it begins, right and down: 0 in the middle, 1 where it would touch the border."""
    motion: str
    pace: float
    """Half pictures, turns, bounces or growths per second."""
    reach: float = 0.0
    """How far a bounce or a circle goes, in the shorter side."""
    phase: float = 0.0
    """Where in its circle or bounce it begins, in turns."""


@dataclass(frozen=True, kw_only=True)
class Camera:
    """How the picture moves over the scene, slower and slower."""

    move: str = "static"
    pace: float = 0.0
    """Per second: after 1 / pace seconds, 63 % of `reach` is done."""
    reach: float = 0.0
    """How far in the end: in the shorter side for a pan, by which factor more for a zoom."""


@dataclass(frozen=True, kw_only=True)
class Background:
    """What is behind all objects."""

    kind: str
    """A wall or place of the vocabulary."""
    tones: tuple[str, ...] = ()
    """Of a wall."""
    period: float = 0.25
    """Of stripes and checkerboards, in the shorter side."""
    horizon: float = 0.0
    """Of a place: from -1 at the top to 1 at the bottom of the picture."""
    texture: int = 0
    """Which of the many textures; below 0 there is none."""


@dataclass(frozen=True, kw_only=True)
class SceneDescription:
    """A scene, from which every frame at every size follows. Later objects are in front of earlier ones."""

    seed: int
    index: int
    objects: tuple[SceneObject, ...]
    camera: Camera
    background: Background
    phrasing: int
    """Which of the phrasings its captions take."""
