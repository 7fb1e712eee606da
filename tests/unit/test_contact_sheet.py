import numpy as np
import pytest
import torch
from PIL import Image

from reelwright.media.contact_sheet import ContactSheet, evenly_spaced


def gray_frames(levels, width=240, height=160):
    return torch.tensor(levels, dtype=torch.uint8).view(-1, 1, 1, 1).repeat(1, height, width, 3)


def levels_on(sheet: Image.Image, columns, rows, width=240, height=160):
    """The gray level in the middle of each cell, read from the picture; gaps of 6, captions of 18."""
    pixels = np.asarray(sheet)
    return [
        int(pixels[6 + row * (height + 24) + height // 2, 6 + column * (width + 6) + width // 2, 0])
        for row in range(rows)
        for column in range(columns)
    ]


@pytest.mark.parametrize("chunk", [1, 7, 49])
def test_the_sheet_shows_evenly_spaced_frames_with_the_first_and_the_last(chunk):
    levels = [5 * frame for frame in range(49)]
    sheet = ContactSheet(49, fps=8)
    for start in range(0, 49, chunk):
        sheet.add(gray_frames(levels[start : start + chunk]))
    picks = [round(48 * cell / 11) for cell in range(12)]
    assert levels_on(sheet.image(), 4, 3) == [5 * pick for pick in picks]


def test_a_short_clip_fills_only_the_cells_it_needs():
    sheet = ContactSheet(3, fps=8)
    sheet.add(gray_frames([10, 20, 30]))
    assert sheet.image().size == (6 + 3 * 246, 6 + 160 + 24)


def test_one_frame_makes_a_sheet_of_one():
    sheet = ContactSheet(1, fps=8)
    sheet.add(gray_frames([77]))
    assert levels_on(sheet.image(), 1, 1) == [77]


def test_a_clip_that_stopped_early_still_gives_a_sheet():
    sheet = ContactSheet(100, fps=8)
    sheet.add(gray_frames([50]))
    assert levels_on(sheet.image(), 1, 1) == [50]


def test_no_frames_are_refused():
    with pytest.raises(ValueError, match="no frame"):
        ContactSheet(5, fps=8).image()


def test_captions_tell_frames_apart_and_do_not_touch_the_pictures():
    def sheet_at(fps):
        sheet = ContactSheet(2, fps=fps)
        sheet.add(gray_frames([0, 0]))
        return np.asarray(sheet.image())

    slow, fast = sheet_at(1), sheet_at(2)
    assert (slow[6:166] == fast[6:166]).all()
    assert (slow[166:] != fast[166:]).any()
    caption = slow[166:184]
    assert caption.max() > 150, "the ink is light"
    assert (caption[:, :246] != caption[:, 246:492]).any()


def test_wide_frames_are_reduced_and_tiny_ones_enlarged_without_blur():
    wide = ContactSheet(1, fps=8)
    wide.add(gray_frames([9], width=720, height=480))
    assert levels_on(wide.image(), 1, 1) == [9]
    tiny = ContactSheet(1, fps=8)
    checkered = (torch.arange(64).view(1, 1, 64, 1) % 2 * 255).to(torch.uint8).repeat(1, 48, 1, 3)
    tiny.add(checkered)
    enlarged = np.asarray(tiny.image())[6 : 6 + 96, 6 : 6 + 128]
    assert set(np.unique(enlarged)) == {0, 255}


def test_the_clip_itself_is_not_kept():
    sheet = ContactSheet(1000, fps=8)
    for _ in range(100):
        sheet.add(gray_frames([0] * 10, width=480, height=320))
    kept = sum(thumbnail.width * thumbnail.height for thumbnail in sheet._thumbnails.values())
    assert kept == 12 * 240 * 160


@pytest.mark.parametrize(("num_items", "most"), [(1, 1), (5, 1), (5, 12), (12, 12), (13, 12), (1000, 7)])
def test_evenly_spaced_indices_differ_and_keep_one_stride(num_items, most):
    picks = evenly_spaced(num_items, most)
    assert len(picks) == min(num_items, most) == len(set(picks))
    assert picks[0] == 0
    strides = np.diff(picks)
    if len(picks) > 1:
        assert picks[-1] == num_items - 1
        assert strides.max() - strides.min() <= 1
