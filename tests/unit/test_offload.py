"""Networks that take turns on the device."""

import pytest
import torch
from torch import nn

from reelwright.execution import offload
from reelwright.execution.offload import Turns

GPU, CPU = torch.device("meta"), torch.device("cpu")


@pytest.fixture
def places(monkeypatch: pytest.MonkeyPatch) -> dict[nn.Module, torch.device]:
    """Where networks were moved to last."""
    moved: dict[nn.Module, torch.device] = {}

    def note(network: nn.Module, device: torch.device) -> None:
        moved[network] = device
        assert list(moved.values()).count(GPU) <= 1

    monkeypatch.setattr(offload, "move_weights", note)
    return moved


def test_one_network_is_on_the_device_at_a_time(places: dict[nn.Module, torch.device]) -> None:
    turns, first, second = Turns(GPU, is_on=True), nn.Linear(1, 1), nn.Linear(1, 1)
    turns.note(first)
    turns.rest()
    assert places == {first: CPU}
    turns.note(second)
    turns.take(second)
    assert places == {first: CPU}
    turns.take(first)
    assert places == {first: GPU, second: CPU}
    places.clear()
    turns.take(first)
    assert places == {}


def test_networks_stay_unless_it_is_asked_for(places: dict[nn.Module, torch.device]) -> None:
    turns, first, second = Turns(GPU, is_on=False), nn.Linear(1, 1), nn.Linear(1, 1)
    turns.note(first)
    turns.rest()
    turns.take(second)
    assert places == {}


def test_a_network_that_is_gone_takes_no_turn(places: dict[nn.Module, torch.device]) -> None:
    turns, first = Turns(GPU, is_on=True), nn.Linear(1, 1)
    turns.note(first)
    del first
    turns.rest()
    assert places == {}


def test_what_is_elsewhere_is_not_moved() -> None:
    network = nn.Linear(2, 2).requires_grad_(False)
    network.weight.data = torch.zeros(()).expand(2, 2)
    bias = network.bias.clone()
    offload.move_weights(network, CPU)
    assert network.weight.stride() == (0, 0)
    assert torch.equal(network.bias, bias)
