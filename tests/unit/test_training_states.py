"""A state is written whole or not at all, read back bit by bit, and never trusted when it is damaged."""

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from reelwright.core.digested_file import DigestedFile
from reelwright.core.errors import CheckpointError, ConfigError, FileError
from reelwright.workflows.training.states import TrainingState, latest_state, read_state, write_state

FILES = ("weights.safetensors", "averages.safetensors", "optimizer.pt", "state.json")


def state_of(step: int, **others) -> TrainingState:
    """Small, and another one for each step."""
    return TrainingState(
        **{
            "progress": {"step": step, "epoch": step // 2, "parts": {"best": float("inf"), "text": "für"}},
            "weights": {"up": torch.full((3, 5), float(step)), "alpha": torch.tensor(step / 3)},
            "optimizer": {"state": {0: {"step": torch.tensor(float(step))}}, "param_groups": [{"lr": 1e-3}]},
            "schedule": {"last_epoch": step, "_last_lr": [1e-3]},
            "averages": {"up": torch.full((3, 5), step / 2).to(torch.bfloat16)},
            **others,
        }
    )


def assert_same(found: object, expected: object) -> None:
    """Equal to the bit, whatever is nested in what."""
    if isinstance(expected, Tensor):
        assert isinstance(found, Tensor)
        assert found.dtype == expected.dtype
        assert torch.equal(found, expected)
    elif isinstance(expected, dict):
        assert isinstance(found, dict)
        assert list(found) == list(expected)
        for key, value in expected.items():
            assert_same(found[key], value)
    elif isinstance(expected, list | tuple):
        assert isinstance(found, list | tuple)
        for left, right in zip(found, expected, strict=True):
            assert_same(left, right)
    else:
        assert found == expected


def assert_same_state(found: TrainingState, expected: TrainingState) -> None:
    assert found.progress == expected.progress
    assert found.weights.keys() == expected.weights.keys()
    for name, tensor in expected.weights.items():
        assert_same(found.weights[name], tensor)
    for name, tensor in expected.averages.items():
        assert_same(found.averages[name], tensor)
    assert_same(found.optimizer, expected.optimizer)
    assert_same(found.schedule, expected.schedule)


def newest_step(folder: Path) -> int:
    found = latest_state(folder)
    assert found is not None
    state = found[0]
    assert_same_state(state, state_of(state.progress["step"]))
    return state.progress["step"]


def test_a_state_is_read_back_bit_by_bit(tmp_path: Path):
    place = write_state(tmp_path, state_of(120), keep=2)
    assert place == tmp_path / "states" / "step-00000120"
    assert sorted(path.name for path in place.iterdir()) == sorted(FILES)
    for path in (tmp_path, tmp_path / "states", place):
        state, notices = read_state(path)
        assert_same_state(state, state_of(120))
        assert notices == []


def test_weights_of_a_state_are_plain_safetensors_of_any_number_format(tmp_path: Path):
    from safetensors.torch import load_file

    formats = (torch.float32, torch.bfloat16, torch.float16, torch.float8_e4m3fn, torch.int8, torch.bool)
    weights = {str(kind): torch.arange(7).to(kind) for kind in formats}
    weights |= {"none": torch.zeros(0, 3), "turned": torch.arange(6.0).reshape(2, 3).t()}
    place = write_state(tmp_path, state_of(1, weights=weights), keep=1)
    found = load_file(place / "weights.safetensors")
    assert found.keys() == weights.keys()
    for name, tensor in weights.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name].float(), tensor.float())


def test_nothing_but_the_last_states_is_kept(tmp_path: Path):
    for step in (10, 20, 30, 40):
        write_state(tmp_path, state_of(step), keep=2)
    assert sorted(path.name for path in (tmp_path / "states").iterdir()) == ["step-00000030", "step-00000040"]


def test_a_state_of_the_same_step_takes_the_place_of_the_first(tmp_path: Path):
    write_state(tmp_path, state_of(10), keep=2)
    write_state(tmp_path, state_of(20), keep=2)
    place = write_state(tmp_path, state_of(20, schedule=None), keep=2)
    assert place.name == "step-00000020"
    assert sorted(path.name for path in place.parent.iterdir()) == ["step-00000010", "step-00000020"]
    assert read_state(place)[0].schedule is None


def test_who_goes_back_gives_up_the_states_that_came_later(tmp_path: Path):
    for step in (10, 20, 30):
        write_state(tmp_path, state_of(step), keep=3)
    write_state(tmp_path, state_of(15), keep=3)
    assert newest_step(tmp_path) == 15


def test_a_run_without_states_has_none(tmp_path: Path):
    assert latest_state(tmp_path) is None
    with pytest.raises(FileError, match=r"no training state.*folder of a run"):
        read_state(tmp_path)


@pytest.mark.parametrize("name", FILES)
def test_any_flipped_byte_makes_the_state_before_the_last_one_be_used(tmp_path: Path, name: str):
    write_state(tmp_path, state_of(10), keep=2)
    path = write_state(tmp_path, state_of(20), keep=2) / name
    content = path.read_bytes()
    for place in {0, len(content) - 1, *range(0, len(content), max(1, len(content) // 40))}:
        damaged = bytearray(content)
        damaged[place] ^= 0x04
        path.write_bytes(damaged)
        found = latest_state(tmp_path)
        assert found is not None, place
        state, notices = found
        assert state.progress["step"] == 10, place
        assert len(notices) == 1
        assert "step-00000020 is damaged" in notices[0]
        assert "step-00000010" in notices[0]
    path.write_bytes(content)
    assert newest_step(tmp_path) == 20


def _drop(path: Path) -> None:
    path.unlink()


def _shorten(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _nest(path: Path) -> None:
    path.write_text("[" * 100_000)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", [_drop, _shorten, _empty, _nest])
def test_a_broken_file_makes_the_state_before_be_used(
    tmp_path: Path, name: str, damage: Callable[[Path], None]
):
    write_state(tmp_path, state_of(10), keep=2)
    damage(write_state(tmp_path, state_of(20), keep=2) / name)
    assert newest_step(tmp_path) == 10


def test_a_damaged_state_that_was_asked_for_is_refused(tmp_path: Path):
    write_state(tmp_path, state_of(10), keep=2)
    place = write_state(tmp_path, state_of(20), keep=2)
    _shorten(place / "optimizer.pt")
    with pytest.raises(CheckpointError, match=r"optimizer\.pt: has .* bytes in place of .*whole state"):
        read_state(place)


def test_a_run_whose_states_are_all_damaged_is_refused(tmp_path: Path):
    for step in (10, 20):
        _drop(write_state(tmp_path, state_of(step), keep=2) / "weights.safetensors")
    with pytest.raises(CheckpointError, match=r"(?s)no state is whole.*step-00000020.*step-00000010"):
        latest_state(tmp_path)


def test_a_state_of_a_later_form_is_told_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("reelwright.workflows.training.state_files._FORMAT", 99)
    place = write_state(tmp_path, state_of(10), keep=2)
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match=r"was written by version .* Go on with that version"):
        read_state(place)


def test_what_a_killed_process_left_half_written_is_passed_over_and_removed(tmp_path: Path):
    write_state(tmp_path, state_of(10), keep=2)
    half = tmp_path / "states" / ".0123456789ab"
    half.mkdir()
    (half / "weights.safetensors").write_bytes(b"half")
    assert newest_step(tmp_path) == 10
    write_state(tmp_path, state_of(20), keep=2)
    assert not half.exists()


class _FullDisk:
    """A file on a disk that has room for so many bytes."""

    def __init__(self, file, room: Iterator[int]) -> None:
        self._file = file
        self._room = room

    def write(self, data: bytes) -> int:
        if any(next(self._room, None) is None for _ in range(len(data))):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()

    def fileno(self) -> int:
        return self._file.fileno()


@pytest.mark.parametrize("room", [0, 7, 100, 400, 1000, 2000])
def test_a_full_disk_keeps_the_last_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int):
    write_state(tmp_path, state_of(10), keep=1)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    left = iter(range(room))
    start = DigestedFile.__init__
    monkeypatch.setattr(DigestedFile, "__init__", lambda own, file: start(own, _FullDisk(file, left)))
    with pytest.raises(FileError, match=r"step-00000020.*disk is full"):
        write_state(tmp_path, state_of(20), keep=1)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_disk_that_fails_at_the_very_end_keeps_the_last_state(tmp_path: Path, monkeypatch):
    write_state(tmp_path, state_of(10), keep=1)

    def refuse(handle: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("reelwright.core.digested_file.os.fsync", refuse)
    with pytest.raises(FileError, match="disk reports an error"):
        write_state(tmp_path, state_of(20), keep=1)
    assert newest_step(tmp_path) == 10


# One process forks a child for each moment of death: torch is imported once.
PROGRAM = """
import json, os, resource, signal, sys
from pathlib import Path
import torch
from reelwright.core.digested_file import DigestedFile
from reelwright.core.errors import FileError
from reelwright.workflows.training.states import TrainingState, latest_state, write_state

COUNTED = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir"}
torch.set_num_threads(1)
os.fsync = lambda handle: None  # only a power cut would tell the difference
folder = Path(sys.argv[1])

def state_of(step):
    large = {"exp_avg": torch.full((64, 64), float(step))}
    return TrainingState(progress={"step": step}, weights={"up": torch.full((64, 64), float(step))},
                         optimizer={"state": {0: large}}, schedule=None, averages={})

def in_child(work):
    child = os.fork()
    if child == 0:
        work()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

def found(root):
    state, notices = latest_state(root)
    step = state.progress["step"]
    whole = torch.equal(state.weights["up"], state_of(step).weights["up"])
    return [step, whole, notices]

def dies_at(root, step, moment):
    left = [moment]
    def count():
        left[0] -= 1
        if left[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)
    def work():
        write = DigestedFile.write
        def counted(own, data):
            count()
            half = bytes(data)[: len(data) // 2]
            own._file.write(half)
            own.flush()
            count()
            own._file.seek(-len(half), 1)
            return write(own, data)
        DigestedFile.write = counted
        sys.addaudithook(lambda event, _: count() if event in COUNTED else None)
        write_state(root, state_of(step), keep=1)
    return work

def kill_at_each_moment(name, step):
    for moment in range(1000):
        root = folder / f"{name}-{moment}"
        write_state(root, state_of(10), keep=1)
        code = in_child(dies_at(root, step, moment))
        after = found(root)
        write_state(root, state_of(30), keep=1)
        yield [code, after, found(root), sorted(os.listdir(root / "states"))]
        if code == 0:
            break

def limited():
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
    try:
        write_state(folder, state_of(20), keep=1)
    except FileError as error:
        (folder / "told").write_text(str(error))

write_state(folder, state_of(10), keep=1)
code = in_child(limited)
answers = {
    "next": list(kill_at_each_moment("next", 20)),
    "again": list(kill_at_each_moment("again", 10)),
    "limited": [code, (folder / "told").read_text(), found(folder), os.listdir(folder / "states")],
}
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def deaths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list]:
    """What processes left that were killed, or held to small files, while they wrote a state."""
    if not hasattr(os, "fork"):
        pytest.skip("needs fork")
    command = [sys.executable, "-c", PROGRAM, str(tmp_path_factory.mktemp("deaths"))]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.parametrize(("kind", "steps"), [("next", {10, 20}), ("again", {10})], ids=["next", "again"])
def test_a_process_killed_at_any_moment_of_writing_leaves_a_whole_state(deaths, kind: str, steps: set[int]):
    *killed, finished = deaths[kind]
    assert finished[0] == 0
    assert len(killed) > 30
    assert {answer[0] for answer in killed} == {-signal.SIGKILL}
    assert {answer[1][0] for answer in killed} == steps
    for _, (_, is_whole, notices), afterwards, left in deaths[kind]:
        assert is_whole
        assert notices == []
        assert afterwards == [30, True, []]
        assert left == ["step-00000030"]


def test_a_limit_on_the_size_of_files_keeps_the_last_state(deaths):
    code, told, found, left = deaths["limited"]
    assert code == 0
    assert "step-00000020: cannot be written" in told
    assert "too large" in told
    assert found == [10, True, []]
    assert left == ["step-00000010"]


def _adamw(parameters):
    return torch.optim.AdamW(parameters, lr=0.01)


def _adafactor(parameters):
    from transformers.optimization import Adafactor

    return Adafactor(parameters, lr=0.01, relative_step=False)


def _prodigy(parameters):
    return pytest.importorskip("prodigyopt").Prodigy(parameters)


def _schedule_free(parameters):
    optimizer = pytest.importorskip("schedulefree").AdamWScheduleFree(parameters, lr=0.01, warmup_steps=5)
    optimizer.train()
    return optimizer


def _eight_bit(parameters):
    return pytest.importorskip("bitsandbytes").optim.AdamW8bit(parameters, lr=0.01)


def _came(parameters):
    return pytest.importorskip("came_pytorch").CAME(parameters, lr=0.01)


def _sgd(parameters):
    return torch.optim.SGD(parameters, lr=0.01, momentum=0.9)


def _network(seed: int) -> nn.Linear:
    torch.manual_seed(seed)
    # As many values as 8-bit optimizers ask for before they round.
    return nn.Linear(72, 72)


def _train(network: nn.Linear, optimizer: torch.optim.Optimizer, schedule, steps: range) -> None:
    for step in steps:
        torch.manual_seed(step)
        optimizer.zero_grad()
        network(torch.randn(4, 72)).square().mean().backward()
        optimizer.step()
        schedule.step()


def _cosine(optimizer: torch.optim.Optimizer):
    warmup = torch.optim.lr_scheduler.LinearLR(optimizer, total_iters=3)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=10)
    return torch.optim.lr_scheduler.SequentialLR(optimizer, [warmup, cosine], milestones=[3])


@pytest.mark.parametrize(
    "make",
    [_adamw, _adafactor, _prodigy, _schedule_free, _eight_bit, _came, _sgd],
    ids=lambda make: make.__name__,
)
def test_an_optimizer_goes_on_from_its_state_as_if_it_had_not_stopped(tmp_path: Path, make):
    network = _network(0)
    optimizer = make(network.parameters())
    schedule = _cosine(optimizer)
    _train(network, optimizer, schedule, range(5))
    kept = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    written = state_of(5, weights=kept, optimizer=optimizer.state_dict(), schedule=schedule.state_dict())
    write_state(tmp_path, written, keep=1)
    state, _ = read_state(tmp_path)
    assert_same_state(state, written)

    resumed = _network(1)
    resumed.load_state_dict(state.weights)
    again = make(resumed.parameters())
    schedule_again = _cosine(again)
    again.load_state_dict(state.optimizer)
    assert state.schedule is not None
    schedule_again.load_state_dict(state.schedule)
    _train(network, optimizer, schedule, range(5, 10))
    _train(resumed, again, schedule_again, range(5, 10))
    for name, tensor in network.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], tensor), name


def test_the_rounded_tensors_of_torchao_are_read_back(tmp_path: Path):
    module = pytest.importorskip("torchao.optim.subclass_8bit")
    rounded = module.OptimState8bit.zeros((16, 16))
    rounded.codes.copy_(torch.arange(256).reshape(16, 16).to(torch.uint8))
    rounded.scale.fill_(0.5)
    optimizer = {"state": {0: {"step": torch.tensor(3.0), "exp_avg": rounded}}, "param_groups": []}
    write_state(tmp_path, state_of(3, optimizer=optimizer), keep=1)
    known = torch.serialization.get_safe_globals()
    # As in a process that has not imported the library.
    torch.serialization.clear_safe_globals()
    try:
        found = read_state(tmp_path)[0].optimizer["state"][0]["exp_avg"]
    finally:
        torch.serialization.add_safe_globals(known)
    assert isinstance(found, module.OptimState8bit)
    assert torch.equal(found.codes, rounded.codes)
    assert torch.equal(found.scale, rounded.scale)


class _Wish:
    """What no state may hold: an object of any class, which would be made by running its code."""


@pytest.mark.parametrize("thing", [_Wish(), lambda: 0, Path("x")], ids=["object", "function", "path"])
def test_an_optimizer_whose_state_would_run_code_is_refused_when_it_is_written(tmp_path: Path, thing: object):
    with pytest.raises(ConfigError, match=r"optimizer\.name.*Choose others"):
        write_state(tmp_path, state_of(1, optimizer={"state": {"thing": thing}}), keep=1)
    assert latest_state(tmp_path) is None


def test_tensors_come_to_the_processor_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A tensor that is brought over is let go of before the next one is."""
    import weakref

    alive: list[weakref.ref[Tensor]] = []
    most = 0
    bring = Tensor.cpu

    def counted(tensor: Tensor) -> Tensor:
        nonlocal most
        copy = bring(tensor).clone()
        alive.append(weakref.ref(copy))
        most = max(most, sum(each() is not None for each in alive))
        return copy

    monkeypatch.setattr(Tensor, "cpu", counted)
    weights = {str(number): torch.full((50,), float(number)) for number in range(20)}
    write_state(tmp_path, state_of(1, weights=weights, averages={}), keep=1)
    assert len(alive) == 20
    assert most <= 2
