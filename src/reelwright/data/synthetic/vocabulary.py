"""The words of synthetic scenes, all in one place, and the colors that they stand for."""

from collections.abc import Mapping

Color = tuple[int, int, int]
"""Red, green and blue from 0 to 255."""

COLORS: Mapping[str, Color] = {
    "red": (214, 40, 40),
    "green": (38, 150, 62),
    "blue": (38, 84, 214),
    "yellow": (250, 210, 40),
    "orange": (243, 131, 28),
    "purple": (132, 56, 176),
    "white": (250, 250, 250),
    "black": (22, 22, 26),
    "gray": (128, 130, 134),
    "pink": (246, 118, 178),
    "cyan": (44, 200, 216),
}
"""Of objects."""

SHAPES = (
    *("ball", "square", "triangle", "star", "ring", "cross"),
    *("fox", "car", "boat", "bird", "house", "heart", "moon"),
)
ROUND_SHAPES = frozenset({"ball", "ring"})
"""Those that look the same when they turn."""

MOTIONS: Mapping[str, tuple[str, ...]] = {
    "still": ("stands still", "stays in place", "does not move"),
    "left": ("moves left", "moves to the left", "travels left"),
    "right": ("moves right", "moves to the right", "travels right"),
    "up": ("rises", "moves up", "floats upward"),
    "down": ("falls", "moves down", "sinks downward"),
    "up-left": ("moves up and to the left", "rises toward the left"),
    "up-right": ("moves up and to the right", "rises toward the right"),
    "down-left": ("moves down and to the left", "falls toward the left"),
    "down-right": ("moves down and to the right", "falls toward the right"),
    "bounce": ("bounces", "bounces up and down", "hops up and down"),
    "spin": ("spins", "spins in place", "turns around itself"),
    "grow": ("grows", "grows larger", "becomes larger"),
    "shrink": ("shrinks", "becomes smaller", "shrinks in size"),
    "circle": ("moves in a circle", "circles around", "goes around in a circle"),
}
"""What an object does, in several phrasings; the first is the shortest."""

DIRECTIONS: Mapping[str, tuple[int, int]] = {
    "left": (-1, 0),
    "right": (1, 0),
    "up": (0, -1),
    "down": (0, 1),
    "up-left": (-1, -1),
    "up-right": (1, -1),
    "down-left": (-1, 1),
    "down-right": (1, 1),
}
"""Of the motions that go somewhere: to the right and downward."""

CAMERA_MOVES: Mapping[str, tuple[str, ...]] = {
    "static": ("the camera is still", "the camera does not move"),
    "pan left": ("the camera pans left", "the camera moves to the left"),
    "pan right": ("the camera pans right", "the camera moves to the right"),
    "pan up": ("the camera pans up", "the camera moves upward"),
    "pan down": ("the camera pans down", "the camera moves downward"),
    "zoom in": ("the camera zooms in", "the camera comes closer"),
    "zoom out": ("the camera zooms out", "the camera draws back"),
}

TONES: Mapping[str, Color] = {
    "cream": (244, 232, 206),
    "light gray": (204, 206, 210),
    "light blue": (176, 208, 238),
    "light green": (188, 224, 180),
    "light pink": (248, 210, 216),
    "lavender": (208, 198, 234),
    "beige": (218, 196, 158),
    "dark gray": (70, 73, 80),
    "dark blue": (32, 46, 92),
    "dark green": (28, 74, 54),
    "dark purple": (66, 42, 92),
    "brown": (104, 74, 52),
}
"""Of walls."""

TONE_PAIRS = (
    ("cream", "light gray"),
    ("light blue", "cream"),
    ("light green", "cream"),
    ("light pink", "lavender"),
    ("beige", "cream"),
    ("lavender", "light blue"),
    ("light gray", "light pink"),
    ("dark gray", "dark blue"),
    ("dark green", "dark gray"),
    ("dark purple", "dark blue"),
    ("brown", "dark gray"),
)
"""Near enough in brightness that an object stands out from both."""

WALLS: Mapping[str, tuple[str, ...]] = {
    "plain": ("in front of a {0} wall", "before a plain {0} wall"),
    "gradient": (
        "in front of a wall fading from {0} to {1}",
        "before a wall that is {0} above and {1} below",
    ),
    "horizontal stripes": ("in front of horizontal {0} and {1} stripes",),
    "vertical stripes": ("in front of vertical {0} and {1} stripes",),
    "diagonal stripes": ("in front of diagonal {0} and {1} stripes",),
    "checkerboard": ("in front of a {0} and {1} checkerboard", "before a checkerboard of {0} and {1}"),
    "clouded": ("in front of a clouded {0} and {1} wall", "before a wall clouded in {0} and {1}"),
}
"""Backgrounds of one or two tones."""

PLACES: Mapping[str, tuple[str, Color, Color]] = {
    "grass": ("on grass", (170, 208, 242), (112, 176, 92)),
    "dark floor": ("on a dark floor", (92, 94, 104), (48, 48, 56)),
    "snow": ("in the snow", (196, 212, 232), (240, 244, 250)),
    "sky": ("in a blue sky", (120, 180, 240), (176, 214, 248)),
    "sand": ("on sand", (178, 214, 240), (226, 200, 148)),
    "night": ("at night", (20, 26, 58), (30, 44, 50)),
    "sea": ("over the sea", (190, 220, 244), (52, 112, 170)),
}
"""Backgrounds with a horizon: how they are called, the color above and the color below."""

SIZES: Mapping[str, tuple[float, float]] = {
    "small": (0.115, 0.14),
    "": (0.16, 0.19),
    "large": (0.22, 0.26),
}
"""What a size is called -> the radius in the shorter side of the picture."""
