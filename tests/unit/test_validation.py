"""The loss on held-out clips: the same whatever the batches, and nothing else of the run changes."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from types import SimpleNamespace

import pytest
import torch

from reelwright.core.events import Measured, StageStarted
from reelwright.protocols.train_configs import TrainConfig, ValidationConfig
from reelwright.protocols.training import Batch
from reelwright.workflows.training.metrics import METRICS, Metrics
from reelwright.workflows.training.setting import DenoiserSetting
from reelwright.workflows.training.validation import Validation

from .training_runs import moment, of, open_run, result

LEVELS = (0.25, 1.0)


def clip(place: int) -> torch.Tensor:
    return torch.randn(2, 3, 4, 4, generator=of(1000 + place))


def batches(sizes: list[int], num_places: int) -> list[Batch]:
    """The first ones; places beyond the last begin anew, as where ranks are filled up."""
    found: list[Batch] = []
    start = 0
    for number, size in enumerate(sizes):
        places = tuple(place % num_places for place in range(start, start + size))
        found.append(
            Batch(
                epoch=0,
                number=number,
                names=tuple(f"clip {place}" for place in places),
                group="all",
                tensors={"latents": torch.stack([clip(place) for place in places])},
                lists={},
                seeds=places,
                places=places,
                num_places=num_places,
            )
        )
        start += size
    return found


def run(setting: DenoiserSetting, sizes: list[int], num_places: int, step: int = 0) -> dict[str, float]:
    metrics = Metrics(setting)
    validation = Validation(setting, metrics, lambda: batches(sizes, num_places))
    events = [*metrics(moment(step)), *validation(moment(step))]
    assert events[0] == StageStarted("validate")
    (told,) = [event for event in events if isinstance(event, Measured)]
    return told.values


def config(**more: object) -> TrainConfig:
    return TrainConfig(validation=ValidationConfig(levels=LEVELS, **more))  # type: ignore[arg-type]


def expected(places: range) -> dict[str, float]:
    """By the formula: the error of 0.5 ((1 - l) x + l n) against n."""
    means: list[float] = []
    for level in LEVELS:
        errors: list[float] = []
        for place in places:
            noise = torch.randn(2, 3, 4, 4, generator=of(place)).double()
            asked = (1 - level) * clip(place).double() + level * noise
            errors.append(float((0.5 * asked - noise).square().mean()))
        means.append(sum(errors) / len(errors))
    return {
        "validation_loss": sum(means) / 2,
        "validation_loss/0.25": means[0],
        "validation_loss/1": means[1],
    }


@pytest.mark.parametrize("sizes", [[7], [1] * 7, [3, 3, 1], [4, 4]], ids=str)
def test_the_loss_is_that_of_the_formula_in_any_batches(tmp_path: Path, sizes: list[int]):
    values = run(open_run(tmp_path, config()), sizes, 7)
    assert values == pytest.approx(expected(range(7)), rel=1e-5)
    (line,) = [json.loads(line) for line in (tmp_path / METRICS).read_text().splitlines()]
    assert line["step"] == 0
    assert line["validation_loss"] == values["validation_loss"]
    assert line["validation_levels"] == {
        "0.25": values["validation_loss/0.25"],
        "1": values["validation_loss/1"],
    }


class Meeting:
    """Sums over two processes, which are threads here; one that does not come breaks it."""

    def __init__(self) -> None:
        self.values: list[torch.Tensor] = [torch.zeros(0)] * 2
        self.barrier = Barrier(2, timeout=60)

    def of_rank(self, rank: int) -> SimpleNamespace:
        def reduce(values: torch.Tensor, how: str) -> torch.Tensor:
            assert how == "sum"
            self.values[rank] = values
            self.barrier.wait()
            total = self.values[0] + self.values[1]
            self.barrier.wait()
            return total

        device = torch.device("cpu")
        return SimpleNamespace(
            reduce=reduce, device=device, is_main_process=rank == 0, log=lambda *_, **__: None
        )


@pytest.mark.parametrize(("num_items", "num_rounds"), [(0, 3), (1, 1), (4, 1)], ids=["all", "one", "four"])
def test_two_processes_come_to_the_loss_of_one_and_ask_equally_often(
    tmp_path: Path, num_items: int, num_rounds: int
):
    meeting = Meeting()
    each = batches([2, 2, 1, 1, 1], 7)
    shares = [[each[0], each[2], each[4]], [each[1], each[3], each[0]]]  # the first one fills the last round
    settings = [
        open_run(tmp_path, config(num_items=num_items), accelerator=meeting.of_rank(rank)) for rank in (0, 1)
    ]

    def judge(rank: int) -> dict[str, float]:
        validation = Validation(settings[rank], Metrics(settings[rank]), lambda: shares[rank])
        _, told = validation(moment(0))
        assert isinstance(told, Measured)
        return told.values

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(judge, (0, 1))
    assert first == second == pytest.approx(expected(range(num_items or 7)), rel=1e-5)
    assert [setting.denoiser.num_calls for setting in settings] == [num_rounds * len(LEVELS)] * 2


def test_only_so_many_items_are_judged_and_no_others_are_asked(tmp_path: Path):
    setting = open_run(tmp_path, config(num_items=3))
    assert run(setting, [2, 2, 2, 2], 8) == pytest.approx(expected(range(3)), rel=1e-5)
    assert setting.denoiser.num_calls == 2 * len(LEVELS)


def test_dropout_chance_and_modes_are_as_before(tmp_path: Path):
    setting = open_run(tmp_path, config())
    setting.denoiser.train()
    setting.denoiser.still.eval()  # type: ignore[union-attr]
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = run(setting, [7], 7)
    assert torch.equal(torch.get_rng_state(), before)
    assert setting.denoiser.training
    assert not setting.denoiser.still.training  # type: ignore[union-attr]
    assert setting.denoiser.number.grad is None
    torch.manual_seed(6)
    assert run(setting, [7], 7) == first


def test_it_comes_at_the_start_every_so_often_and_at_the_end(tmp_path: Path):
    def steps(**more: object) -> list[int]:
        setting = open_run(tmp_path, config(**more))
        metrics = Metrics(setting)
        validation = Validation(setting, metrics, lambda: batches([1], 1))
        list(metrics(moment(0)))
        moments = [moment(step, result() if step else None, num_steps=35) for step in range(36)]
        return [each.step for each in moments if list(validation(each))]

    assert steps(every_steps=15) == [0, 15, 30, 35]
    assert steps(every_steps=0, every_epochs=2, at_start=False) == [20, 35]
    assert steps(every_steps=0, at_start=True) == [0]
    assert steps(every_steps=0, at_start=False) == []


def test_a_run_that_was_stopped_between_does_not_judge_twice(tmp_path: Path):
    setting = open_run(tmp_path, config(every_steps=10))
    metrics = Metrics(setting)
    first = Validation(setting, metrics, lambda: batches([1], 1))
    list(metrics(moment(10, result())))
    assert list(first(moment(10, result())))
    second = Validation(setting, metrics, lambda: batches([1], 1))
    second.restore(json.loads(json.dumps(first.state())))
    assert list(second(moment(10))) == []
    assert list(second(moment(20, result())))
