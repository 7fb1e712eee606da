"""Networks that take turns on the device: while one works, the others wait in the computer's memory."""

import weakref
from collections.abc import Sequence

import torch
from torch import nn

from reelwright.execution.policy import Call

_HOST = torch.device("cpu")


class Turns:
    """Of the networks of one session, which keep their weights from turn to turn: no file is read again."""

    def __init__(self, device: torch.device, *, is_on: bool) -> None:
        """If it is not on, networks stay where they are."""
        self._device = device
        self._is_on = is_on
        self._on_device: weakref.WeakSet[nn.Module] = weakref.WeakSet()

    def note(self, network: nn.Module) -> None:
        """A network has been loaded to the device."""
        self._on_device.add(network)

    def take(self, network: nn.Module) -> None:
        """Have a network on the device, alone."""
        if not self._is_on or set(self._on_device) == {network}:
            return
        self._send_away([other for other in self._on_device if other is not network])
        if network not in self._on_device:
            move_weights(network, self._device)
            self._on_device.add(network)

    def rest(self) -> None:
        """Make room on the device for what is loaded next."""
        if self._is_on:
            self._send_away(list(self._on_device))

    def _send_away(self, networks: Sequence[nn.Module]) -> None:
        for network in networks:
            move_weights(network, _HOST)
            self._on_device.discard(network)


class DenoisersTurn:
    """A policy: the denoiser takes its turn when a run begins, and after others have had theirs."""

    shortcut = ""

    def __init__(self, network: nn.Module, turns: Turns) -> None:
        self._network, self._turns = network, turns
        turns.note(network)

    def start(self, calls: Sequence[Call]) -> None:
        self._turns.take(self._network)

    def enter(self, call: Call) -> None:
        self._turns.take(self._network)


def move_weights(network: nn.Module, device: torch.device) -> None:
    """All that a network holds; what is swapped or left in a file has its own ways."""
    for tensor in (*network.parameters(), *network.buffers()):
        if tensor.untyped_storage().nbytes() >= tensor.nbytes:
            tensor.data = tensor.data.to(device)
