"""Blocks that are on the device only while they run."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from reelwright.adapters.adapted_module import set_multipliers
from reelwright.adapters.learning.adapter_trainables import adapter_trainables
from reelwright.checkpoint.lane import Carrier, Lane
from reelwright.checkpoint.loading import load_network
from reelwright.checkpoint.rooms import Home, Room
from reelwright.checkpoint.safetensors_io import save_safetensors
from reelwright.core.errors import CheckpointError, ConfigError
from reelwright.execution.activation_checkpoint import checkpoint_blocks
from reelwright.execution.block_swap import (
    blocks_of,
    check_swap,
    leave_swapped,
    swap_blocks,
    swapped_places,
)
from reelwright.execution.compiling import compile_blocks
from reelwright.execution.fp8 import quantize_blocks
from reelwright.execution.prepare import prepare, share_out
from reelwright.execution.stacks import stacks_of
from reelwright.families.cogvideox import lora_layouts as cogvideox_layouts
from reelwright.families.cogvideox.transformer import CogVideoXTransformer
from reelwright.families.framepack import lora_layouts as framepack_layouts
from reelwright.families.framepack.transformer import FramePackTransformer
from reelwright.protocols.policy_configs import KernelConfig, PolicyConfig
from reelwright.protocols.train_configs import AdapterConfig, TrainExecutionConfig

from .lora_networks import COGVIDEOX, FRAMEPACK, SUBJECTS, Draw, Subject, save, seeded
from .training_questions import QUESTIONS, error

CPU = torch.device("cpu")
_COGVIDEOX, _FRAMEPACK = (
    replace(COGVIDEOX, num_layers=7),
    replace(FRAMEPACK, num_layers=3, num_single_layers=4),
)
DEEP: dict[str, Subject] = {
    "cogvideox": replace(
        SUBJECTS["cogvideox"],
        build=lambda: seeded(lambda: CogVideoXTransformer(_COGVIDEOX)),
        targets=cogvideox_layouts.adapter_targets(_COGVIDEOX, "deep CogVideoX"),
    ),
    "framepack": replace(
        SUBJECTS["framepack"],
        build=lambda: seeded(lambda: FramePackTransformer(_FRAMEPACK)),
        targets=framepack_layouts.adapter_targets(_FRAMEPACK, "deep FramePack"),
    ),
}
NUM_BLOCKS = 7
MIDDLE = list(range(1, NUM_BLOCKS - 1))
MODULES = {
    "cogvideox": ["transformer_blocks.{n}.attn1.to_q", "transformer_blocks.{n}.ff.net.0.proj"],
    "framepack": ["single_transformer_blocks.{n}.attn.to_q", "single_transformer_blocks.{n}.proj_out"],
}


@dataclass
class Watched:
    """A carrier, and what it was told."""

    carrier: Carrier
    lane: Lane
    rooms: list[Room]
    fetched: list[int] = field(default_factory=list[int])

    def open(self, room: Room) -> None:
        self.carrier.open(room)

    def fill(self, room: Room, home: Home) -> None:
        self.carrier.fill(room, home)
        self.fetched.append(self.rooms.index(room) + 1)
        assert sum(each.is_open for each in self.rooms) <= 2

    def wait(self, room: Room) -> None:
        assert room.is_open
        self.carrier.wait(room)

    def leave(self, room: Room) -> None:
        self.carrier.leave(room)


def _swap(network: nn.Module, monkeypatch: pytest.MonkeyPatch) -> Watched:
    """Swap all blocks but two, and watch."""
    rooms: list[Room] = []
    close = Room.close

    def note(room: Room) -> None:
        if room not in rooms:
            rooms.append(room)
        close(room)

    with monkeypatch.context() as patched:
        patched.setattr(Room, "close", note)
        lane = swap_blocks(network, NUM_BLOCKS - 2, CPU)
    watched = Watched(lane.carrier, lane, rooms)
    lane.carrier = watched
    return watched


def _lora(family: str, folder: Path) -> Path:
    """A LoRA of two layers in each block that it is for."""
    weights = DEEP[family].released(DEEP[family].build())
    draw, tensors = Draw(3), dict[str, Tensor]()
    for template in MODULES[family]:
        for number in range(4):
            name = template.format(n=number)
            rows, columns = weights[name].shape
            tensors[f"transformer.{name}.lora_A.weight"] = draw(2, columns)
            tensors[f"transformer.{name}.lora_B.weight"] = draw(rows, 2)
    return save(folder / "lora.safetensors", tensors)


def _beside(family: str, folder: Path, network: nn.Module) -> None:
    DEEP[family].plan(_lora(family, folder), lora_mode="unmerged").apply(network)


def _fp8(family: str, folder: Path, network: nn.Module) -> None:
    assert quantize_blocks(network, lambda name: "modulation" not in name, torch.float32, CPU)


def _learning(family: str, folder: Path, network: nn.Module) -> None:
    trainables = adapter_trainables(
        network,
        DEEP[family].targets,
        AdapterConfig(rank=2, targets="all"),
        "lora",
        layout="native",
        dtype=torch.float32,
        seed=1,
    )
    for parameter in trainables.tensors().values():
        if not parameter.any():
            nn.init.normal_(parameter)


def _compiled(family: str, folder: Path, network: nn.Module) -> None:
    compile_blocks(network, KernelConfig(compile="blocks", compile_backend="eager"))


def _checkpointed_whole(family: str, folder: Path, network: nn.Module) -> None:
    """As compiled blocks are."""
    for stack in stacks_of(network):
        checkpoint_blocks(stack, offload=False, in_pieces=False)


def _checkpointed(family: str, folder: Path, network: nn.Module) -> None:
    for stack in stacks_of(network):
        checkpoint_blocks(stack, offload=False)


CHANGES: dict[str, list[Callable[[str, Path, nn.Module], None]]] = {
    "plain": [],
    "lora-beside": [_beside],
    "fp8": [_fp8],
    "learning": [_learning],
    "learning-fp8": [_fp8, _learning],
    "learning-checkpointed": [_checkpointed, _learning],
    "learning-fp8-checkpointed": [_fp8, _checkpointed, _learning],
    "learning-compiled": [_compiled, _learning],
    "learning-compiled-checkpointed": [_compiled, _checkpointed_whole, _learning],
}


def _changed(family: str, change: str, folder: Path) -> nn.Module:
    network = DEEP[family].build()
    for each in CHANGES[change]:
        each(family, folder, network)
    return network


def _outcome(network: nn.Module, family: str, item: int = 0) -> dict[str, Tensor]:
    loss = error(network, QUESTIONS[family](item))
    for parameter in network.parameters():
        parameter.grad = None
    if loss.requires_grad:
        loss.backward()
    gradients = {name: p.grad for name, p in network.named_parameters() if p.grad is not None}
    return {"loss": loss.detach(), **gradients}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("family", DEEP)
def test_swapped_blocks_give_the_same_bytes(
    family: str, change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, swapped = _changed(family, change, tmp_path), _changed(family, change, tmp_path)
    names = list(swapped.state_dict())
    watched = _swap(swapped, monkeypatch)
    assert list(swapped.state_dict()) == names
    for item in (0, 1):
        watched.fetched.clear()
        expected, found = _outcome(plain, family, item), _outcome(swapped, family, item)
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], expected[name]) for name in expected)
        # There, and back where gradients are asked for; the next one is fetched before one runs.
        assert watched.fetched == MIDDLE + (MIDDLE[::-1] if len(expected) > 1 else [])
        assert not watched.lane.open_places
        assert not any(room.is_open for room in watched.rooms)


@pytest.mark.parametrize("family", DEEP)
def test_strengths_of_loras_change_between_sections(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, swapped = _changed(family, "lora-beside", tmp_path), _changed(family, "lora-beside", tmp_path)
    _swap(swapped, monkeypatch)
    found: list[Tensor] = []
    for strength in (1.0, 0.0, 0.5):
        for network in (plain, swapped):
            set_multipliers(network, [strength])
        found.append(_outcome(swapped, family)["loss"])
        assert torch.equal(found[-1], _outcome(plain, family)["loss"])
    assert len({float(each) for each in found}) == 3


@pytest.mark.parametrize("family", DEEP)
def test_training_is_prepared_to_swap(family: str) -> None:
    def prepared(num_swapped: int) -> nn.Module:
        network = DEEP[family].build()
        config = TrainExecutionConfig(fp8=True, activation_checkpoint=True, block_swap=num_swapped)
        prepare(network, config, lambda name: "modulation" not in name, dtype=torch.float32, device=CPU)
        _learning(family, Path(), network)
        share_out(network, config, CPU)
        return network

    expected, found = _outcome(prepared(0), family), _outcome(prepared(5), family)
    assert len(found) > 1
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_run_that_fails_leaves_nothing_and_the_next_one_works(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, network = DEEP["cogvideox"].build(), DEEP["cogvideox"].build()
    watched = _swap(network, monkeypatch)

    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    handle = blocks_of(network)[3].register_forward_pre_hook(fail)
    with pytest.raises(KeyboardInterrupt):
        _outcome(network, "cogvideox")
    assert watched.fetched
    assert not any(room.is_open for room in watched.rooms)
    handle.remove()
    assert torch.equal(_outcome(network, "cogvideox")["loss"], _outcome(plain, "cogvideox")["loss"])


def test_a_copy_that_fails_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    network = DEEP["cogvideox"].build()
    watched = _swap(network, monkeypatch)

    def fail(room: Room, home: Home) -> None:
        raise CheckpointError("the disk is gone")

    monkeypatch.setattr(watched.carrier, "fill", fail)
    with pytest.raises(CheckpointError):
        _outcome(network, "cogvideox")
    assert not any(room.is_open for room in watched.rooms)


def test_weights_that_are_away_are_no_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    network = DEEP["cogvideox"].build()
    _swap(network, monkeypatch)
    assert all(parameter.isnan().all() for parameter in blocks_of(network)[1].parameters())


@pytest.mark.parametrize("num_blocks", [3, 4, 7, 42, 60])
def test_the_blocks_that_stay_are_spread_evenly(num_blocks: int) -> None:
    for num_swapped in range(1, num_blocks - 1):
        places = swapped_places(num_blocks, num_swapped)
        resident = sorted(set(range(num_blocks)) - set(places))
        assert len(places) == num_swapped
        assert (resident[0], resident[-1]) == (0, num_blocks - 1)
        gaps = {after - before for before, after in pairwise(resident)}
        assert max(gaps) - min(gaps) <= 1


LEFT = {"block_swap": 2, "swap_home": "disk"}


@pytest.mark.parametrize(
    ("settings", "num_blocks", "has_loras", "complaint"),
    [
        ({"block_swap": 41}, 42, False, "largest number for this model is 40"),
        ({"block_swap": 1}, 2, False, "largest number for this model is 0"),
        ({"swap_home": "disk"}, 42, False, "--execution.block-swap N"),
        (LEFT, 42, True, "--save-merged-model"),
        ({**LEFT, "weights": "fp8"}, 42, False, "Leave out --execution.weights"),
    ],
    ids=["too-many", "two-blocks", "disk-alone", "disk-lora", "disk-fp8"],
)
def test_what_cannot_be_is_refused_with_the_way_out(
    settings: dict[str, object], num_blocks: int, has_loras: bool, complaint: str
) -> None:
    config = PolicyConfig(**settings)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ConfigError, match=complaint):
        check_swap(config, num_blocks, has_loras=has_loras)


def test_all_but_two_is_legal() -> None:
    check_swap(PolicyConfig(block_swap=40, swap_home="disk"), 42, has_loras=False)


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """A file with the weights of a deep CogVideoX in half precision."""
    network = DEEP["cogvideox"].build().half()
    path = tmp_path / "model.safetensors"
    save_safetensors(path, DEEP["cogvideox"].key_map.to_file(network.state_dict()))
    return path


def _loaded(path: Path, config: PolicyConfig) -> nn.Module:
    with torch.device("meta"):
        network = CogVideoXTransformer(_COGVIDEOX)
    load = partial(load_network, network, path, [DEEP["cogvideox"].key_map], device=CPU, dtype=torch.float32)
    load(hold=leave_swapped(config, path, CPU))
    if config.block_swap:
        swap_blocks(network, config.block_swap, CPU)
    return network


def _bytes_in_memory(network: nn.Module) -> int:
    tensors = [*network.parameters(), *network.buffers()]
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}
    return sum(storages.values())


def test_weights_that_stay_on_disk_give_the_same_bytes(stored: Path) -> None:
    plain = _loaded(stored, PolicyConfig())
    network = _loaded(stored, PolicyConfig(block_swap=5, swap_home="disk"))
    in_blocks = sum(p.nbytes for block in blocks_of(plain)[1:-1] for p in block.parameters())
    assert _bytes_in_memory(plain) - _bytes_in_memory(network) > 0.99 * in_blocks
    for item in (0, 1):
        expected, found = _outcome(plain, "cogvideox", item), _outcome(network, "cogvideox", item)
        assert torch.equal(found["loss"], expected["loss"])


class _Stopped:
    """A home whose rooms are not filled before it is let go on; it notes who filled them."""

    is_on_disk = True

    def __init__(self, failure: BaseException | None = None) -> None:
        self.may_go_on = threading.Event()
        self.threads: list[threading.Thread] = []
        self.found_open: list[bool] = []
        self._failure = failure

    def fill(self, room: Room) -> None:
        self.threads.append(threading.current_thread())
        assert self.may_go_on.wait(60)
        self.found_open.append(room.is_open)
        if self._failure is not None:
            raise self._failure
        room.flat.fill_(len(self.threads))


def _lane_of(homes: Sequence[_Stopped]) -> tuple[Lane, list[Room]]:
    rooms = [Room([nn.Parameter(torch.ones(4))], CPU, has_values=False) for _ in homes]
    lane = Lane(dict(enumerate(zip(rooms, homes, strict=True))), CPU)
    return lane, rooms


def test_the_next_part_is_read_while_one_computes() -> None:
    homes = [_Stopped() for _ in range(3)]
    lane, rooms = _lane_of(homes)
    homes[0].may_go_on.set()
    lane.arrive(0)
    # The first is here, and the second, which nobody let go on, holds nothing up.
    assert rooms[0].flat.eq(1).all()
    assert [room.is_open for room in rooms] == [True, True, False]
    homes[1].may_go_on.set()
    lane.arrive(1)
    assert rooms[1].flat.eq(1).all()
    homes[2].may_go_on.set()
    lane.arrive(2)
    lane.clear()
    threads = {thread for home in homes for thread in home.threads}
    assert len(threads) == 1
    assert threading.current_thread() not in threads
    assert not any(thread.is_alive() for thread in threads)


def test_a_failure_of_the_reader_is_one_of_whoever_waits_for_it() -> None:
    homes = [_Stopped(), _Stopped(CheckpointError("the disk is gone"))]
    lane, rooms = _lane_of(homes)
    for home in homes:
        home.may_go_on.set()
    lane.arrive(0)
    with pytest.raises(CheckpointError, match="the disk is gone"):
        lane.arrive(1)
    assert not any(room.is_open for room in rooms)
    assert not any(thread.is_alive() for home in homes for thread in home.threads)


def test_rooms_are_closed_when_what_fills_them_is_done() -> None:
    homes = [_Stopped(), _Stopped()]
    lane, rooms = _lane_of(homes)
    homes[0].may_go_on.set()
    lane.arrive(0)
    threading.Timer(0.05, homes[1].may_go_on.set).start()
    lane.clear()
    assert homes[1].found_open in ([], [True])
    assert not any(room.is_open for room in rooms)
    assert not any(thread.is_alive() for home in homes for thread in home.threads)


def test_weights_come_from_disk_in_a_thread_that_ends_with_the_pass(stored: Path) -> None:
    network = _loaded(stored, PolicyConfig(block_swap=5, swap_home="disk"))
    names: list[list[str]] = []

    def note(*_: object) -> None:
        names.append([thread.name for thread in threading.enumerate() if thread.name.startswith("weights")])

    blocks_of(network)[3].register_forward_hook(note)
    _outcome(network, "cogvideox")
    assert [len(each) for each in names] == [1]
    assert not [thread for thread in threading.enumerate() if thread.name in names[0]]


def test_a_file_that_was_changed_meanwhile_is_an_error(stored: Path) -> None:
    network = _loaded(stored, PolicyConfig(block_swap=5, swap_home="disk"))
    stored.write_bytes(stored.read_bytes()[:-8])
    with pytest.raises(CheckpointError, match="changed while it was read"):
        _outcome(network, "cogvideox")
