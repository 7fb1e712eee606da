"""Alarms while training: when they come, what they say, and that a resumed run has the same ones."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from reelwright.core.events import Notice
from reelwright.workflows.training.alarms import Alarms
from reelwright.workflows.training.metrics import METRICS, Metrics
from reelwright.workflows.training.setting import Setting, StepResult

from .training_runs import moment, open_run, result


class Watch:
    """Metrics and alarms of one run, fed step by step."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.metrics = Metrics(setting)
        self.alarms = Alarms(setting, self.metrics)
        self.step = 0

    def take(self, results: Iterator[StepResult] | list[StepResult]) -> list[tuple[int, str]]:
        told: list[tuple[int, str]] = []
        for each in results:
            self.step += 1
            list(self.metrics(moment(self.step, each)))
            for event in self.alarms(moment(self.step, each)):
                assert isinstance(event, Notice)
                told.append((self.step, event.message))
        return told


@pytest.fixture
def watch(tmp_path: Path) -> Watch:
    return Watch(open_run(tmp_path))


def test_a_healthy_run_has_no_alarms(watch: Watch):
    assert watch.take([result(1 + 0.5 * math.sin(step)) for step in range(200)]) == []


def test_a_loss_that_runs_away_is_told_once_with_what_to_do(watch: Watch, tmp_path: Path):
    told = watch.take([result(1.0)] * 30 + [result(20.0)] * 30)
    ((step, message),) = told
    assert 30 < step < 45
    assert message.startswith(f"step {step}: the loss is")
    assert "optimizer.learning_rate (now 0.0001)" in message
    lines = [json.loads(line) for line in (tmp_path / METRICS).read_text().splitlines()]
    (alarm,) = [line for line in lines if "alarm" in line]
    assert alarm == {"step": step, "alarm": "divergence", "message": message.partition(": ")[2]}


def test_it_is_told_again_only_after_all_was_well(watch: Watch):
    runs_away, recovers = [result(20.0)] * 30, [result(1.0)] * 300
    assert len(watch.take([result(1.0)] * 30 + runs_away + recovers + runs_away)) == 2


def test_a_factor_of_zero_never_warns_of_the_loss(tmp_path: Path):
    setting = open_run(tmp_path)
    object.__setattr__(setting.config.tracking, "alarm_factor", 0.0)
    assert Watch(setting).take([result(1.0)] * 30 + [result(1e6)] * 30) == []


@pytest.mark.parametrize("change", [0.0, 1e-9])
def test_an_adapter_that_learns_nothing_is_told_after_twenty_steps(watch: Watch, change: float):
    watch.setting.trainables.changed = change  # type: ignore[attr-defined]
    ((step, message),) = watch.take([result()] * 60)
    assert step == 20
    assert "learned in 20 steps. Raise optimizer.learning_rate" in message


def test_a_warm_up_without_any_rate_is_no_reason_to_warn(watch: Watch):
    watch.setting.trainables.changed = 0.0  # type: ignore[attr-defined]
    assert watch.take([result(rates={"all": 0.0})] * 100) == []


def test_what_nobody_can_measure_is_no_alarm(watch: Watch):
    watch.setting.trainables.changed = math.nan  # type: ignore[attr-defined]
    assert watch.take([result()] * 60) == []


def test_gradients_that_are_all_zero_are_told_after_five_steps(watch: Watch):
    told = watch.take([result(norm=0.0)] * 4 + [result()] + [result(norm=0.0)] * 8)
    assert [step for step, _ in told] == [10]
    assert "all gradients were 0 for 5 steps" in told[0][1]


def test_gradients_that_are_not_finite_are_told_at_once_but_expected_of_fp16(watch: Watch, tmp_path: Path):
    ((step, message),) = watch.take([result()] * 2 + [result(norm=math.inf)] * 5)
    assert step == 3
    assert "Lower optimizer.learning_rate" in message
    half = open_run(
        tmp_path, accelerator=SimpleNamespace(scaler=object(), log=_nothing, is_main_process=False)
    )
    told = Watch(half).take([result(norm=math.nan)] * 9 + [result()] + [result(norm=math.nan)] * 10)
    assert [step for step, _ in told] == [20]
    assert "mixed-precision bf16" in told[0][1]


def _nothing(*_: object, **__: object) -> None: ...


def test_a_resumed_run_has_the_alarms_of_one_that_was_not_stopped(tmp_path: Path):
    results = [result(1.0)] * 25 + [result(2.0, norm=0.0)] * 3 + [result(30.0, norm=0.0)] * 30
    whole = Watch(open_run(tmp_path)).take(list(results))
    assert len(whole) == 2
    for stop in (1, 20, 27, 40, 57):
        first = Watch(open_run(tmp_path))
        told = first.take(results[:stop])
        second = Watch(open_run(tmp_path))
        second.step = stop
        second.metrics.restore(json.loads(json.dumps(first.metrics.state())))
        second.alarms.restore(json.loads(json.dumps(first.alarms.state())))
        assert told + second.take(results[stop:]) == whole
