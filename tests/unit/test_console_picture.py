import re

import numpy as np
import pytest

from reelwright.core.errors import ConfigError
from reelwright.media.console_picture import console_picture

CELL = re.compile(r"\x1b\[38;2;(\d+);(\d+);(\d+);48;2;(\d+);(\d+);(\d+)m(▀+)")


def shown(text):
    """The pixels that a terminal would show, from its codes."""
    rows = []
    for line in (line for line in text.splitlines() if "▀" in line):
        cells = [([int(part) for part in found[:6]], len(found[6])) for found in CELL.findall(line)]
        for half in (slice(0, 3), slice(3, 6)):
            rows.append([color[half] for color, number in cells for _ in range(number)])
    return np.array(rows)


def halves(upper, lower, side=32):
    frame = np.empty((side, side, 3), np.uint8)
    frame[: side // 2], frame[side // 2 :] = upper, lower
    return frame


def test_a_character_shows_two_pixels_one_above_the_other():
    picture = shown(console_picture([halves((250, 0, 0), (0, 0, 250))], [], width=16))
    assert picture.shape == (16, 16, 3), "square, since a character is twice as high as wide"
    assert (picture[:8] == (250, 0, 0)).all()
    assert (picture[8:] == (0, 0, 250)).all()


def test_frames_stand_side_by_side_in_the_width_asked_for():
    frames = [halves((value, 0, 0), (value, 0, 0)) for value in (50, 100, 150)]
    picture = shown(console_picture(frames, [], width=30))
    assert picture.shape[1] == 30
    assert [picture[0, column, 0] for column in (5, 15, 25)] == [50, 100, 150]


def test_words_stand_above_as_they_are_also_with_brackets():
    text = console_picture([halves(0, 0)], ["clip [red].mp4", "a ball"], width=40)
    assert text.index("clip [red].mp4") < text.index("a ball") < text.index("▀")


def test_the_color_behind_words_can_be_chosen():
    plain, navy = (console_picture([halves(0, 0)], ["a"], width=8, back=back) for back in ("", "navy_blue"))
    assert "48;5;17" in navy
    assert "48;5;17" not in plain


def test_an_unknown_color_is_refused():
    with pytest.raises(ConfigError, match="'nvy' is no color"):
        console_picture([halves(0, 0)], [], width=8, back="nvy")
