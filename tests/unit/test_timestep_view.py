"""Histograms of noise levels: what is drawn is counted, and shown as text and as a picture."""

from dataclasses import dataclass, replace

import pytest
import torch
from PIL import Image

from reelwright.core.events import ConsoleText, FileSaved
from reelwright.media.histogram import Histogram, histogram_picture, histogram_text
from reelwright.protocols.train_configs import TrainConfig
from reelwright.protocols.training import Batch, Example
from reelwright.workflows.training.timestep_view import drawn_levels, show_timesteps


@dataclass
class Upper:
    """An objective that draws evenly from the noisier half; levels above 0.75 count three times."""

    def example(self, batch: Batch, levels_B: torch.Tensor | None = None) -> Example:
        drawn = [
            torch.rand((), generator=torch.Generator().manual_seed(seed)) / 2 + 0.5 for seed in batch.seeds
        ]
        levels = torch.stack(drawn)
        empty = torch.empty(0)
        return Example(
            noisy_BCTHW=empty,
            timestep_B=levels * 1000,
            conditions=None,
            target_BCTHW=empty,
            weight_B=torch.where(levels > 0.75, 3.0, 1.0),
            level_B=levels,
        )


def batch(*seeds: int) -> Batch:
    return Batch(
        epoch=0,
        number=0,
        names=tuple(map(str, seeds)),
        group="",
        tensors={},
        lists={},
        seeds=seeds,
        places=tuple(range(len(seeds))),
        num_places=len(seeds),
    )


def shares(text: str) -> list[float]:
    return [float(line.split()[-1].rstrip("%")) for line in text.splitlines() if line.endswith("%")]


def test_rounds_draw_anew_until_there_are_enough():
    levels, _ = drawn_levels(Upper(), [batch(1, 2), batch(3)], 100)
    assert len(levels) == 102
    assert levels.unique().numel() == 102


def test_the_terminal_shows_how_often_each_timestep_is_drawn_and_what_it_counts():
    config = TrainConfig(show_timesteps="console")
    *_, event = show_timesteps(config, Upper(), [batch(*range(8))])
    assert isinstance(event, ConsoleText)
    drawn, counted = (shares(part) for part in event.text.split("\n\n"))
    assert drawn[:10] == [0.0] * 10
    assert drawn[10:] == pytest.approx([10.0] * 10, abs=2.5)
    # A quarter of the loss is from the lower half of what is drawn, three quarters from the upper.
    assert sum(counted[10:15]) == pytest.approx(25.0, abs=3.0)


def test_a_picture_is_saved_in_the_output_folder(tmp_path):
    config = TrainConfig(show_timesteps="image", name="mine", out=tmp_path)
    *_, event = show_timesteps(config, Upper(), [batch(1)])
    assert event == FileSaved("timesteps", str(tmp_path / "mine-timesteps.png"))
    assert Image.open(tmp_path / "mine-timesteps.png").size == (640, 400)


def test_bars_are_as_long_as_their_shares():
    histogram = Histogram(title="It", first=0, last=10, amounts=[1, 4, 0, 3])
    lines = histogram_text(histogram).splitlines()
    assert lines[0] == "It"
    assert [line.count("█") for line in lines[1:]] == [12, 50, 0, 38]
    assert [float(line.split()[0]) for line in lines[1:]] == [0, 2.5, 5, 7.5]


def test_nothing_drawn_is_an_empty_picture_rather_than_a_failure():
    histogram = Histogram(title="None", first=0, last=1, amounts=[0, 0])
    assert histogram_picture([histogram, replace(histogram, title="Too")]).size == (640, 400)
    assert shares(histogram_text(histogram)) == [0, 0]
