"""Draw a scene by lot."""

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from random import Random
from typing import TypeVar

from reelwright.data.synthetic.grid import horizon_on_grid, on_grid
from reelwright.data.synthetic.motion import half_extent, pose_at
from reelwright.data.synthetic.scene import (
    NO_TEXTURE,
    Background,
    Camera,
    SceneDescription,
    SceneObject,
    SceneOptions,
)
from reelwright.data.synthetic.vocabulary import (
    CAMERA_MOVES,
    COLORS,
    DIRECTIONS,
    MOTIONS,
    PLACES,
    ROUND_SHAPES,
    SHAPES,
    SIZES,
    TONE_PAIRS,
    TONES,
    WALLS,
    Color,
)

T = TypeVar("T")

_STILL_CAMERA = 0.65
_CHANCES_OF_COUNTS = (0.4, 0.35, 0.25)
_NUM_TRIES = 60
_SMALLEST_GAP = 0.03
_SMALLEST_CONTRAST = 190.0
_SHOW_A_PAN = ("diagonal stripes", "checkerboard", "clouded", *PLACES)
_SHOW_A_ZOOM = ("horizontal stripes", "vertical stripes", *_SHOW_A_PAN)
# What goes somewhere under a moving camera would seem to go elsewhere.
_UNDER_A_MOVING_CAMERA = ("still", "spin", "circle", "bounce")
_OFTEN = ("left", "right", "up", "down")
_SPEEDS = (0.3, 0.6)
_PACES = {"bounce": (0.8, 1.3), "circle": (0.4, 0.7), "grow": (0.7, 1.1), "shrink": (0.7, 1.1)}
_REACHES = {"bounce": (0.3, 0.42), "circle": (0.13, 0.2)}
_SQUARE = (256, 256)
_UNSEEN = 0.1


def describe(seed: int, index: int, options: SceneOptions | None = None) -> SceneDescription:
    """Scene `index` of `seed`: the same on every machine, whatever else is drawn."""
    options = options or SceneOptions()
    # Of the methods of Random, only `random` is promised to stay the same in later versions of Python.
    lots = Random(f"scene {index} of {seed}")
    camera = _camera(lots, options)
    background = _background(lots, camera, options)
    if options.grid:
        background = horizon_on_grid(background, options.grid)
    if options.even:
        background = replace(background, texture=NO_TEXTURE)
    objects: list[SceneObject] = []
    for color in _colors(lots, visible_colors(background, options), _num_objects(lots, options)):
        objects.append(_placed(lots, objects, color, camera, options))
    return SceneDescription(
        seed=seed,
        index=index,
        objects=tuple(objects),
        camera=camera,
        background=background,
        phrasing=int(lots.random() * 1_000_000),
    )


def background_colors(background: Background) -> tuple[Color, ...]:
    """What a background is made of: two colors, or one."""
    if background.kind in PLACES:
        return PLACES[background.kind][1:]
    return tuple(TONES[tone] for tone in background.tones)


def visible_colors(background: Background, options: SceneOptions) -> list[str]:
    """Those of the options that stand out from a background, and that there are objects of."""
    behind = background_colors(background)
    return [
        name
        for name in _only(options.colors, COLORS)
        if min(_contrast(COLORS[name], other) for other in behind) >= _SMALLEST_CONTRAST
        and (options.combinations == "all" or _combinations(name, MOTIONS, options))
    ]


def is_seen(shape: str, color: str, motion: str) -> bool:
    """Whether the combination is among the nine tenths that are not kept for a test."""
    return Random(f"combination {shape} {color} {motion}").random() >= _UNSEEN


def _only(wanted: Collection[str], known: Iterable[str]) -> list[str]:
    """The known words that are wanted; all if nothing is said."""
    return [word for word in known if not wanted or word in wanted]


def _camera(lots: Random, options: SceneOptions) -> Camera:
    is_still = lots.random() < _STILL_CAMERA
    move = _one_of(lots, [move for move in CAMERA_MOVES if move != "static"])
    pace, reach = _between(lots, 0.5, 0.8), _between(lots, 0.28, 0.4)
    if is_still or not options.camera or not _can_be_seen(move, options):
        return Camera()
    factor = 2.0 if move.startswith("zoom") else 1.0
    return Camera(move=move, pace=pace * options.speed, reach=reach * factor)


def _can_be_seen(move: str, options: SceneOptions) -> bool:
    """Whether some background shows this camera move, and some motion suits it."""
    return bool(
        _only(options.backgrounds, _backgrounds_for(move)) and _only(options.motions, _UNDER_A_MOVING_CAMERA)
    )


def _backgrounds_for(move: str) -> Sequence[str]:
    if move == "static":
        return (*WALLS, *PLACES)
    return _SHOW_A_PAN if move.startswith("pan") else _SHOW_A_ZOOM


def _background(lots: Random, camera: Camera, options: SceneOptions) -> Background:
    """One before which a color can be seen."""
    kinds = _only(options.backgrounds, _backgrounds_for(camera.move))
    background = _any_background(lots, kinds)
    while not visible_colors(background, options):
        background = _any_background(lots, kinds)
    return background


def _any_background(lots: Random, kinds: Sequence[str]) -> Background:
    kind = _one_of(lots, kinds)
    pair = _one_of(lots, TONE_PAIRS)
    tones = pair if lots.random() < 0.5 else pair[::-1]
    return Background(
        kind=kind,
        tones=() if kind in PLACES else tones[:1] if kind == "plain" else tones,
        period=_between(lots, 0.22, 0.4),
        horizon=_between(lots, -0.5, -0.15),
        texture=int(lots.random() * 1_000_000),
    )


def _num_objects(lots: Random, options: SceneOptions) -> int:
    drawn = lots.random()
    sums = (sum(_CHANCES_OF_COUNTS[: number + 1]) for number in range(len(_CHANCES_OF_COUNTS)))
    return min(1 + sum(drawn >= bound for bound in sums), options.max_objects)


def _colors(lots: Random, visible: Sequence[str], number: int) -> list[str]:
    """Different ones, or fewer where there are no more."""
    chosen: list[str] = []
    for _ in range(min(number, len(visible))):
        chosen.append(_one_of(lots, [name for name in visible if name not in chosen]))
    return chosen


def _contrast(first: Color, second: Color) -> float:
    """How different two colors look, from 0 to 765 (https://www.compuphase.com/cmetric.htm)."""
    red, green, blue = (one - other for one, other in zip(first, second, strict=True))
    mean = (first[0] + second[0]) / 2
    return math.sqrt((2 + mean / 256) * red**2 + 4 * green**2 + (2 + (255 - mean) / 256) * blue**2)


def _placed(
    lots: Random, others: Sequence[SceneObject], color: str, camera: Camera, options: SceneOptions
) -> SceneObject:
    """An object that begins apart from the others; the best of many tries where it is crowded."""
    tries: list[SceneObject] = []
    while len(tries) < _NUM_TRIES:
        tries.append(_draw(lots, color, camera, options, is_crowded=bool(others)))
        if _gap(tries[-1], others) >= _SMALLEST_GAP:
            return tries[-1]
    return max(tries, key=lambda thing: _gap(thing, others))


def _draw(
    lots: Random, color: str, camera: Camera, options: SceneOptions, *, is_crowded: bool
) -> SceneObject:
    shape = _one_of(lots, _only(options.shapes, SHAPES))
    motion = _motion(lots, shape, camera, options)
    if options.combinations != "all":
        motions = MOTIONS if camera.move == "static" else _UNDER_A_MOVING_CAMERA
        left = _combinations(color, motions, options) or _combinations(color, MOTIONS, options)
        shape, motion = _one_of(lots, left)
    size = _size(lots, motion, options, is_crowded=is_crowded)
    x, y = _start(lots, motion, 0.9 if camera.move == "static" else 0.55)
    drawn = SceneObject(
        shape=shape,
        color=color,
        size=size,
        radius=_between(lots, *SIZES[size]),
        start=(round(x, 4), round(y, 4)),
        motion=motion,
        pace=_between(lots, *_PACES.get(motion, _SPEEDS)) * options.speed,
        reach=_between(lots, *_REACHES.get(motion, (0.0, 0.0))),
        phase=_between(lots, 0.0, 1.0) if motion == "circle" else 0.0,
    )
    return on_grid(drawn, options.grid) if options.grid else drawn


def _motion(lots: Random, shape: str, camera: Camera, options: SceneOptions) -> str:
    """What looks the same when it turns stands still where it may do nothing but spin."""
    known = (*MOTIONS, *_OFTEN) if camera.move == "static" else _UNDER_A_MOVING_CAMERA
    motions = _only(options.motions, known)
    return _one_of(
        lots, [name for name in motions if name != "spin" or shape not in ROUND_SHAPES] or ["still"]
    )


def _combinations(color: str, motions: Iterable[str], options: SceneOptions) -> list[tuple[str, str]]:
    """Shapes and motions that objects of a color may have, where not all of them may."""
    return [
        (shape, motion)
        for shape in _only(options.shapes, SHAPES)
        for motion in _only(options.motions, motions)
        if not (motion == "spin" and shape in ROUND_SHAPES)
        and is_seen(shape, color, motion) == (options.combinations == "seen")
    ]


def _size(lots: Random, motion: str, options: SceneOptions, *, is_crowded: bool) -> str:
    wanted = ["" if name == "usual" else name for name in options.sizes] or [*SIZES]
    sizes = [name for name in SIZES if name in wanted]
    sizes = [name for name in sizes if not (is_crowded and name == "large")] or sizes
    drawn = _one_of(lots, sizes)
    # What shrinks must still be seen, and what grows must not fill the picture.
    return {"grow": sizes[0], "shrink": sizes[-1]}.get(motion, drawn)


def _start(lots: Random, motion: str, spread: float) -> tuple[float, float]:
    """Where an object begins: what moves has its way before it, what bounces has room above."""
    x, y = _between(lots, -spread, spread), _between(lots, -spread, spread)
    if motion == "bounce":
        return x, 0.35 + 0.5 * abs(y)
    if motion == "circle":
        return 0.6 * x, 0.6 * y
    right, down = DIRECTIONS.get(motion, (0, 0))
    return -right * abs(x) if right else x, -down * abs(y) if down else y


def _gap(thing: SceneObject, others: Sequence[SceneObject]) -> float:
    """How far it begins from the nearest of the others, from border to border, in a square picture."""
    half = half_extent(_SQUARE)
    place = pose_at(thing, 0.0, half).center
    return min(
        (
            math.dist(place, pose_at(other, 0.0, half).center) - thing.radius - other.radius
            for other in others
        ),
        default=math.inf,
    )


def _one_of(lots: Random, choices: Sequence[T]) -> T:
    return choices[int(lots.random() * len(choices))]


def _between(lots: Random, low: float, high: float) -> float:
    return round(low + (high - low) * lots.random(), 4)
