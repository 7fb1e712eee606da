"""Weights are saved when they are due, under musubi-tuner's names, and old ones go."""

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from reelwright.checkpoint.safetensors_io import read_safetensors_metadata
from reelwright.core.errors import FileError
from reelwright.core.events import Event, FileSaved
from reelwright.protocols.train_configs import EmaConfig, OptimizerConfig, SavingConfig, TrainConfig
from reelwright.protocols.training import ParameterGroup
from reelwright.workflows.training.disk_space import check_room, state_sizes
from reelwright.workflows.training.ema import Averages
from reelwright.workflows.training.gathering import gathered
from reelwright.workflows.training.model_files import ModelFiles
from reelwright.workflows.training.optimizers import make_optimizer
from reelwright.workflows.training.setting import Setting

from .training_runs import moment, open_run

STEPS_PER_EPOCH = 10


class SavedNumber:
    """Trainables of one number, saved as one file."""

    def __init__(self) -> None:
        self.number = torch.nn.Parameter(torch.zeros(4))

    def tensors(self) -> dict[str, Tensor]:
        return {"number": self.number}

    def save(
        self, place: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]
    ) -> Iterator[Event]:
        path = place.with_name(f"{place.name}.safetensors")
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({name: tensor.detach() for name, tensor in tensors.items()}, path, dict(metadata))
        yield FileSaved("lora", str(path))


class SavedFolder(SavedNumber):
    """As a whole model is saved."""

    def save(
        self, place: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]
    ) -> Iterator[Event]:
        place.mkdir(exist_ok=True)
        yield from super().save(place / "model", tensors, metadata)


def open_setting(folder: Path, trainables: Any = None, **config: Any) -> Setting:
    return open_run(
        folder,
        TrainConfig(name="fox", model="some/model", seed=1, **config),
        trainables=trainables or SavedNumber(),
        model=SimpleNamespace(metadata={}, fingerprints={}),
        facts={"num_items": 10, "num_batches": 10, "num_epochs": 3, "datasets": []},
    )


def train(files: ModelFiles, setting: Setting, steps: range, num_steps: int = 30) -> list[Event]:
    """The events of these steps; the number that is learned is that of the step."""
    events: list[Event] = []
    for step in steps:
        setting.trainables.tensors()["number"].data.fill_(step)
        at = moment(
            step,
            num_steps=num_steps,
            epoch=step // STEPS_PER_EPOCH,
            epoch_ended=step % STEPS_PER_EPOCH == 0 and step > 0,
        )
        expected = files.is_due(at)
        done = list(files(at))
        assert bool(done) == expected
        events += done
    return events


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_weights_are_saved_by_step_by_epoch_and_at_the_end_once(tmp_path: Path):
    setting = open_setting(tmp_path, saving=SavingConfig(every_steps=15, every_epochs=1))
    events = train(ModelFiles(setting), setting, range(31))
    expected = [
        *("fox-000001.safetensors", "fox-000002.safetensors"),
        *("fox-step00000015.safetensors", "fox.safetensors"),
    ]
    assert names_in(tmp_path) == expected
    told = [event.path for event in events if isinstance(event, FileSaved)]
    assert sorted(told) == [str(tmp_path / name) for name in expected]
    assert load_file(tmp_path / "fox-000002.safetensors")["number"].tolist() == [20] * 4
    assert read_safetensors_metadata(tmp_path / "fox-step00000015.safetensors")["ss_steps"] == "15"


def test_weights_may_go_elsewhere(tmp_path: Path):
    setting = open_setting(tmp_path / "run", saving=SavingConfig(folder=tmp_path / "loras"))
    train(ModelFiles(setting), setting, range(29, 31))
    assert names_in(tmp_path / "loras") == ["fox.safetensors"]


def test_of_weights_saved_by_epoch_the_last_ones_stay(tmp_path: Path):
    setting = open_setting(tmp_path, saving=SavingConfig(every_epochs=2, keep_epochs=2))
    train(ModelFiles(setting), setting, range(81), num_steps=1000)
    assert names_in(tmp_path) == ["fox-000006.safetensors", "fox-000008.safetensors"]


def test_weights_saved_by_step_go_when_so_many_steps_have_passed(tmp_path: Path):
    # musubi-tuner's example: every 10 steps, 30 kept; at step 50 that of step 10 goes.
    setting = open_setting(tmp_path, saving=SavingConfig(every_steps=10, keep_steps=30))
    files = ModelFiles(setting)
    train(files, setting, range(41), num_steps=1000)
    assert names_in(tmp_path) == [f"fox-step000000{step}.safetensors" for step in (10, 20, 30, 40)]
    train(files, setting, range(41, 51), num_steps=1000)
    assert names_in(tmp_path) == [f"fox-step000000{step}.safetensors" for step in (20, 30, 40, 50)]


def test_a_run_that_goes_on_removes_what_it_saved_before_and_nothing_else(tmp_path: Path):
    saving = SavingConfig(every_steps=10, keep_steps=10)
    setting = open_setting(tmp_path, saving=saving)
    foreign = tmp_path / "fox-step00000005.safetensors"
    foreign.write_bytes(b"of another run")
    first = ModelFiles(setting)
    train(first, setting, range(21), num_steps=1000)
    second = ModelFiles(open_setting(tmp_path, saving=saving))
    second.restore(first.state())
    train(second, setting, range(21, 31), num_steps=1000)
    assert names_in(tmp_path) == [foreign.name, *(f"fox-step000000{n}.safetensors" for n in (20, 30))]


def test_folders_of_whole_models_are_rotated_too(tmp_path: Path):
    setting = open_setting(tmp_path, SavedFolder(), saving=SavingConfig(every_epochs=1, keep_epochs=1))
    train(ModelFiles(setting), setting, range(31), num_steps=1000)
    assert names_in(tmp_path) == ["fox-000003"]
    assert names_in(tmp_path / "fox-000003") == ["model.safetensors"]


def test_the_average_stands_beside_the_weights_and_goes_with_them(tmp_path: Path):
    setting = open_setting(tmp_path, saving=SavingConfig(every_epochs=1, keep_epochs=1))
    averages = Averages(EmaConfig(decay=0.5), setting.trainables.tensors)
    files = ModelFiles(setting, averages)
    setting.trainables.tensors()["number"].data.fill_(8.0)
    averages.update(1000)
    train(files, setting, range(10, 31, 10))
    assert names_in(tmp_path) == [
        *("fox-000002-ema.safetensors", "fox-000002.safetensors"),
        *("fox-ema.safetensors", "fox.safetensors"),
    ]
    assert load_file(tmp_path / "fox.safetensors")["number"].tolist() == [30] * 4
    assert load_file(tmp_path / "fox-ema.safetensors")["number"].tolist() == [4] * 4


def test_the_weights_saved_are_those_that_are_meant_to_be_used(tmp_path: Path):
    setting = open_setting(tmp_path)
    number = setting.trainables.tensors()["number"]

    @contextmanager
    def settled() -> Iterator[None]:
        number.data.mul_(10)
        yield
        number.data.div_(10)

    seen: list[float] = []
    files = ModelFiles(setting, settled=settled)
    number.data.fill_(3.0)
    for _ in files(moment(30, num_steps=30)):
        seen.append(number[0].item())
    assert seen == [3.0]
    assert load_file(tmp_path / "fox.safetensors")["number"].tolist() == [30] * 4


def test_the_same_training_on_the_same_day_gives_the_same_bytes_whenever_it_was_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", str(86_400 * 20_000 + 5))
    whole = open_setting(tmp_path / "whole")
    train(ModelFiles(whole), whole, range(31))
    stopped = open_setting(tmp_path / "stopped")
    first = ModelFiles(stopped)
    train(first, stopped, range(20))
    monkeypatch.setenv("SOURCE_DATE_EPOCH", str(86_400 * 20_001))
    second = ModelFiles(stopped)
    second.restore(first.state())
    train(second, stopped, range(20, 31))
    paths = [tmp_path / run / "fox.safetensors" for run in ("whole", "stopped")]
    assert read_safetensors_metadata(paths[0]) == read_safetensors_metadata(paths[1])
    assert read_safetensors_metadata(paths[0])["modelspec.date"] == "2024-10-04"


def test_tensors_that_are_spread_over_processes_are_saved_whole():
    from torch import distributed
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Shard, distribute_tensor

    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    try:
        whole, live = torch.arange(6.0).reshape(3, 2), torch.zeros(2)
        spread = distribute_tensor(whole, init_device_mesh("cpu", (1,)), [Shard(0)])
        found = gathered({"spread": spread, "live": live})
    finally:
        distributed.destroy_process_group()
    assert type(found["spread"]) is Tensor
    assert torch.equal(found["spread"], whole)
    assert found["live"] is live


def test_a_disk_without_room_for_one_state_is_refused_with_numbers(tmp_path: Path, monkeypatch):
    setting = open_setting(tmp_path)
    setting.trainables.number = torch.nn.Parameter(torch.empty(250_000_000, device="meta"))
    optimizer = torch.optim.AdamW([setting.trainables.number])
    usage = SimpleNamespace(free=4_500_000_000)
    monkeypatch.setattr("reelwright.core.paths.shutil.disk_usage", lambda _: usage)
    with pytest.raises(
        FileError, match=r"5\.0 GB are needed, 4\.5 GB are free.*saved weights 1\.0 GB.*optimizer 2\.0 GB"
    ):
        check_room(setting, optimizer, has_averages=True)
    usage.free = 5_100_000_000
    check_room(setting, optimizer, has_averages=True)


@pytest.mark.parametrize(
    "name", ["adamw", "adamw_schedulefree", "came", "lion", "adamw8bit", "adafactor", "prodigy", "sgd"]
)
def test_no_more_room_is_asked_for_than_a_state_takes(name: str):
    weight = torch.nn.Parameter(torch.randn(64, 96))
    group = ParameterGroup(name="all", parameters={"weight": weight})
    optimizer = make_optimizer(OptimizerConfig(name=name), [group])
    expected = state_sizes({"weight": weight}, optimizer, has_averages=False)
    for _ in range(2):
        weight.grad = torch.ones_like(weight)
        optimizer.step()
    written = io.BytesIO()
    torch.save(optimizer.state_dict(), written)
    assert expected.get("optimizer", 0.0) <= len(written.getvalue())
