"""Blocks whose weights are on the device only while they run; elsewhere they wait in memory or in a file."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from torch import nn

from reelwright.checkpoint.lane import Lane, run_along
from reelwright.checkpoint.left_in_file import LeaveInFile, make_room
from reelwright.core.errors import ConfigError
from reelwright.execution.stacks import modulations_of, stacks_of
from reelwright.protocols.cache_configs import TextEncodingConfig
from reelwright.protocols.policy_configs import PolicyConfig, WeightPolicyConfig

_RESIDENT = 2
"""Blocks that stay: the first and the last, beside which the first copies of a pass run, there and back."""


def check_swap(config: PolicyConfig, num_blocks: int, *, has_loras: bool) -> None:
    """Raise ConfigError if a model of so many blocks cannot run so."""
    check_block_swap(config.block_swap, num_blocks)
    _check_swap_home(config, has_loras=has_loras)
    check_streaming(config)


def check_streaming(config: PolicyConfig | TextEncodingConfig) -> None:
    """Raise ConfigError if text encoders are to stay in files that do not hold them as they are needed."""
    if config.stream_encoders and config.text_weights != "full":
        raise ConfigError(
            "execution.text_weights: layers that come one by one are read from their file each time, so there"
            " is nothing to round. Leave it out, or --execution.stream-encoders."
        )


def check_block_swap(num_swapped: int, num_blocks: int) -> None:
    """Raise ConfigError if a model of so many blocks cannot swap that many."""
    largest = max(num_blocks - _RESIDENT, 0)
    if num_swapped > largest:
        raise ConfigError(
            f"execution.block_swap: {num_swapped} of {num_blocks} blocks cannot be swapped: two stay on the"
            f" device. The largest number for this model is {largest}."
        )


def loading_device(config: WeightPolicyConfig, device: torch.device) -> torch.device:
    """Where to load a network that `swap_blocks` is for; what stays in files takes no memory anywhere."""
    is_in_memory = config.block_swap > 0 and config.swap_home == "memory"
    return torch.device("cpu") if is_in_memory else device


def leave_swapped(config: PolicyConfig, path: Path, device: torch.device) -> LeaveInFile | None:
    """What leaves weights in the file at `path` while a network is loaded from it; None if nothing does."""
    if config.block_swap == 0 or config.swap_home == "memory":
        return None
    choose = partial(_names_to_leave, config.block_swap, config.modulation_tables)
    return LeaveInFile(path, choose, device)


def swap_blocks(network: nn.Module, num_swapped: int, device: torch.device) -> Lane:
    """Take the weights of so many blocks off the device, and have them come when they are needed.

    Everything else goes to the device. What learns is not swapped. Blocks that stay are spread evenly, so
    that copies run beside them. Works for forward passes and for gradients, in the order of `stacks`.
    """
    blocks = blocks_of(network)
    swapped = swapped_places(len(blocks), num_swapped)
    rooms = {place: make_room(blocks[place], device) for place in swapped}
    network.to(device)
    lane = Lane(rooms, device)
    run_along(lane, network, blocks)
    return lane


def blocks_of(network: nn.Module) -> list[nn.Module]:
    """In the order in which they run."""
    return [block for stack in stacks_of(network) for block in stack]


def swapped_places(num_blocks: int, num_swapped: int) -> Sequence[int]:
    """Which blocks are swapped: all but some that are spread evenly from the first to the last."""
    if num_swapped == 0:
        return ()
    check_block_swap(num_swapped, num_blocks)
    gaps = num_blocks - num_swapped - 1
    resident = {round(index * (num_blocks - 1) / gaps) for index in range(gaps + 1)}
    return [place for place in range(num_blocks) if place not in resident]


def _check_swap_home(config: PolicyConfig, *, has_loras: bool) -> None:
    """Raise ConfigError if weights are to stay in a file that does not hold them as they are needed."""
    if config.swap_home == "memory":
        return
    reasons = {
        "has no effect without --execution.block-swap N. Say how many blocks stay in the file": (
            config.block_swap == 0
        ),
        "the weights stay in their file, which has no LoRAs in it. Write one that has with"
        " --save-merged-model FILE and generate with --dit FILE, or leave out --execution.swap-home": (
            has_loras
        ),
        "the weights stay in their file and are read in its number format. Leave out --execution.weights, or"
        " --execution.swap-home": (config.weights != "full"),
    }
    for reason, holds in reasons.items():
        if holds:
            raise ConfigError(f"execution.swap_home: {reason}.")


def _names_to_leave(num_swapped: int, without_modulations: bool, network: nn.Module) -> frozenset[str]:
    """Of parameters; those of modulations are not needed block by block where tables stand for them."""
    blocks = blocks_of(network)
    swapped = [blocks[place] for place in swapped_places(len(blocks), num_swapped)]
    inside = {parameter for block in swapped for parameter in block.parameters()}
    if without_modulations:
        inside -= {parameter for layer in modulations_of(network) for parameter in layer.parameters()}
    return frozenset(name for name, parameter in network.named_parameters() if parameter in inside)
