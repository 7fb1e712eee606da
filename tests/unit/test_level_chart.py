"""What `show_timesteps` shows: the levels that training would draw, as text and as a picture."""

from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from reelwright.core.events import ConsoleText, FileSaved, Finished
from reelwright.media.bar_chart import draw_bars
from reelwright.workflows.training.level_chart import LevelShares, count_levels, levels_text, show_levels


class Drawn:
    """An objective whose batches are their levels and weights."""

    def example(self, batch, levels_B=None):
        levels, weights = batch
        return SimpleNamespace(level_B=torch.tensor(levels), weight_B=torch.tensor(weights))


def epochs(*batches):
    opened = []

    def open_batches():
        opened.append(True)
        return batches

    return open_batches, opened


def test_epochs_are_drawn_until_there_are_enough_items():
    open_batches, opened = epochs(([0.0, 0.04, 0.99, 1.0], [1.0, 1.0, 1.0, 1.0]), ([0.52] * 96, [1.0] * 96))
    found = count_levels(open_batches, Drawn())
    assert (len(opened), found.num_items) == (10, 1000)
    shares = dict(enumerate(found.shares))
    assert {number: share for number, share in shares.items() if share} == pytest.approx(
        {0: 0.02, 10: 0.96, 19: 0.02}
    )


def test_the_text_says_shares_and_parts_of_the_loss():
    open_batches, _ = epochs(([0.02, 0.52], [3.0, 1.0]))
    lines = levels_text(count_levels(open_batches, Drawn())).splitlines()
    assert lines[0] == "timesteps of 1000 items, and their part of the loss"
    assert lines[1] == f"   0-50    50.00%  75.00% {'#' * 50}"
    assert lines[11] == f" 500-550   50.00%  25.00% {'#' * 50}"
    assert lines[2] == "  50-100    0.00%   0.00%"
    even = LevelShares(num_items=3, shares=(0.05,) * 20, weights=(0.05,) * 20)
    assert levels_text(even).splitlines()[20] == f" 950-1000   5.00% {'#' * 50}"


def test_text_goes_to_the_console_and_a_picture_to_its_place(tmp_path):
    open_batches, _ = epochs(([0.02, 0.52], [1.0, 1.0]))
    place = tmp_path / "out" / "timesteps.png"
    (text,) = show_levels(open_batches, Drawn(), "console", place)
    assert isinstance(text, ConsoleText) and not place.exists()
    saved, finished = show_levels(open_batches, Drawn(), "image", place)
    assert saved == FileSaved("timesteps", str(place))
    assert finished == Finished(({"timesteps": str(place)},))
    assert Image.open(place).width > 20 * 36


def test_bars_are_as_high_as_their_shares():
    image = draw_bars([0.25, 0.5, 0.0, 0.25], ["0", "1", "2", "3", "4"], "title")
    blue = (96, 165, 250)
    heights = [
        sum(image.getpixel((12 + 36 * bar + 5, y)) == blue for y in range(image.height)) for bar in range(4)
    ]
    assert heights == [121, 241, 1, 121]
