import numpy as np
from PIL import Image

from reelwright.media.sheet_page import Row, draw_page

RED, BLUE = (220, 0, 0), (0, 0, 220)


def row(color, *lines, width=600):
    return Row(picture=Image.new("RGB", (width, 50), color), lines=lines)


def bands(page):
    """The colors of the left border from top to bottom, each once."""
    column = np.asarray(page)[:, 0]
    changes = [0, *(1 + np.nonzero(np.any(column[1:] != column[:-1], axis=1))[0])]
    return [tuple(int(value) for value in column[start]) for start in changes]


def test_rows_stand_below_each_other_with_words_between():
    page = draw_page([row(RED, "first"), row(BLUE, "second")])
    behind = tuple(int(value) for value in np.asarray(page)[-1, 0])
    assert bands(page) == [RED, behind, BLUE, behind]
    words = np.asarray(page)[50:70]
    assert words.max() > 150, "the ink is light"


def test_long_lines_are_broken_and_never_cut():
    words = " ".join(["caption"] * 40)
    short, long = draw_page([row(RED, "caption")]), draw_page([row(RED, words)])
    num_lines = 1 + (long.height - short.height) // 16
    assert num_lines >= 3
    border = np.asarray(long)[50:, -5:]
    assert (border == border[0, 0]).all(), "nothing runs over the right border"


def test_a_narrow_picture_leaves_room_for_words():
    assert draw_page([row(RED, "a", width=50)]).width >= 400


def test_an_empty_caption_takes_a_line_of_nothing():
    assert draw_page([row(RED, "")]).size == draw_page([row(RED, "a")]).size
