"""metrics.jsonl: what stands in it, and what of it stays when a run goes on."""

import json
import math
from pathlib import Path

import pytest

from reelwright.core.events import Measured
from reelwright.workflows.training.metrics import METRICS, Metrics, cut_lines_after
from reelwright.workflows.training.statistics import RunningMean

from .training_runs import moment, open_run, result


def lines_of(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / METRICS).read_text().splitlines()]


def take(metrics: Metrics, *steps: int, loss: float = 1.0) -> list[Measured]:
    events = [event for step in steps for event in metrics(moment(step, result(loss)))]
    assert all(isinstance(event, Measured) for event in events)
    return events  # type: ignore[return-value]


def test_each_step_is_a_line_and_an_event(tmp_path: Path):
    setting = open_run(tmp_path)
    rates = {"down": 1e-4, "up": 1.6e-3}
    (event,) = Metrics(setting)(moment(1, result(0.5, rates=rates)))
    (line,) = lines_of(tmp_path)
    assert line == {
        "step": 1,
        "epoch": 0,
        "loss": 0.5,
        "smoothed_loss": 0.5,
        "gradient_norm": 0.5,
        "seconds": 0.5,
        "items_per_second": 4.0,
        "peak_memory": 1000,
        "change": 0.01,
        "rates": rates,
        "level_losses": [0.5, 0.5, *[None] * 8],
        "level_counts": [1, 1, *[0] * 8],
    }
    assert isinstance(event, Measured)
    assert (event.step, event.total) == (1, 1000)
    assert event.values == {
        **{name: line[name] for name in ("loss", "smoothed_loss", "gradient_norm", "seconds")},
        **{name: line[name] for name in ("items_per_second", "peak_memory", "change")},
        **{"rate": 1.6e-3, "rate/down": 1e-4, "rate/up": 1.6e-3},
        **{"loss_at/0.05": 0.5, "loss_at/0.15": 0.5},
    }


def test_what_is_costly_or_long_is_told_at_each_tenth_step(tmp_path: Path):
    events = take(Metrics(open_run(tmp_path)), *range(1, 22))
    assert [event.step for event in events if "change" in event.values] == [1, 10, 20]
    assert [event.step for event in events if "loss_at/0.05" in event.values] == [1, 10, 20]
    assert [line["step"] for line in lines_of(tmp_path) if "change" in line] == [1, 10, 20]


def test_numbers_that_are_not_finite_are_null_and_leave_the_average_as_it_was(tmp_path: Path):
    metrics = Metrics(open_run(tmp_path))
    take(metrics, 1, loss=2.0)
    list(metrics(moment(2, result(math.nan, norm=math.inf))))
    line = lines_of(tmp_path)[1]
    assert (line["loss"], line["gradient_norm"], line["smoothed_loss"]) == (None, None, 2.0)


def test_a_run_that_goes_on_tells_what_it_would_have_told_without_a_stop(tmp_path: Path):
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    losses = [1 / step for step in range(1, 31)]
    for folder in (whole, stopped):
        folder.mkdir()
    metrics = Metrics(open_run(whole))
    for step, loss in enumerate(losses, start=1):
        take(metrics, step, loss=loss)
    metrics = Metrics(open_run(stopped))
    for step, loss in enumerate(losses[:25], start=1):
        take(metrics, step, loss=loss)
        if step == 20:
            state = json.loads(json.dumps(metrics.state()))
    with (stopped / METRICS).open("a") as file:
        file.write('{"step": 26, "lo')  # killed while it wrote
    resumed = Metrics(open_run(stopped))
    resumed.restore(state)
    for step, loss in enumerate(losses[20:], start=21):
        take(resumed, step, loss=loss)
    assert (stopped / METRICS).read_bytes() == (whole / METRICS).read_bytes()


def test_a_run_that_begins_anew_leaves_nothing_of_the_first_try(tmp_path: Path):
    take(Metrics(open_run(tmp_path)), 1, 2, 3)
    again = Metrics(open_run(tmp_path))
    assert list(again(moment(0))) == []
    again.write({"step": 0, "validation_loss": 1.0})
    take(again, 1)
    assert [line["step"] for line in lines_of(tmp_path)] == [0, 1]


def test_lines_of_other_parts_are_cut_by_their_step_too(tmp_path: Path):
    path = tmp_path / METRICS
    path.write_text(
        '{"step": 0, "validation_loss": 1}\n{"step": 5}\n{"step": 5, "alarm": "x"}\nnoise\n{"step": 6}\n'
    )
    cut_lines_after(path, 5)
    assert path.read_text() == '{"step": 0, "validation_loss": 1}\n{"step": 5}\n{"step": 5, "alarm": "x"}\n'


def test_a_running_mean_is_true_from_the_first_value_and_forgets():
    mean = RunningMean(50)
    assert math.isnan(mean.mean)
    mean.add(3.0)
    assert mean.mean == 3.0
    for _ in range(400):
        mean.add(1.0)
    assert mean.mean == pytest.approx(1.0, abs=1e-3)
    for _ in range(35):  # 50 x ln 2: half of what counts
        mean.add(2.0)
    assert mean.mean == pytest.approx(1.5, abs=0.01)
