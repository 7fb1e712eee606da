"""The machine that a plan is for: this one, or another that is described."""

import os
from dataclasses import dataclass
from pathlib import Path

import torch

from reelwright.core.sizes import counted
from reelwright.execution.devices import choose_device
from reelwright.execution.fitting import Limits
from reelwright.execution.throughput import GB, KnownGPU, flops_of_gpu, flops_of_processor, known_gpu
from reelwright.protocols.configs import DeviceConfig
from reelwright.protocols.estimates import Machine

_PROGRAM_WITH_GPU = 1_500_000_000
"""What the libraries of a GPU take of the computer's memory beside the program; not measured here."""
_CONTEXT = 500_000_000
"""What a driver takes of a GPU for a program; not measured here."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """A machine, how much of it a run may take, and how fast it is."""

    machine: Machine
    title: str
    limits: Limits
    flops: float
    """For each second; 0 where nobody knows."""
    disk_rate: float = 1.5 * GB
    """Bytes for each second that weights are read at, or brought to the device."""


def find_place(execution: DeviceConfig, gpu: str, vram: float, ram: float) -> Place:
    """Where to run. A GPU that is named, or has its memory told, need not be here. Raises ConfigError."""
    card = known_gpu(gpu) if gpu else None
    is_told = card is not None or vram > 0 or execution.device.startswith("cuda")
    if is_told and not torch.cuda.is_available():
        return _elsewhere(card, gpu, vram, ram)
    device = choose_device(execution.device)
    if device.type == "cpu":
        return _processor(ram)
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 0
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    memory = card.memory if card else free
    return Place(
        machine=Machine(is_processor=False, program=program_memory() + _PROGRAM_WITH_GPU, context=_CONTEXT),
        title=gpu or name,
        limits=Limits(device=round(vram * GB) or memory, host=round(ram * GB) or free_memory()),
        flops=card.flops if card else flops_of_gpu(name),
        disk_rate=10 * GB,
    )


def program_memory() -> int:
    """Bytes that this program takes with all that it imports, before it loads anything.

    Where the system does not tell, what it took where it was measured.
    """
    try:
        fields = Path("/proc/self/statm").read_text(encoding="ascii").split()
    except OSError:
        return 450_000_000
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")


def free_memory() -> int:
    """Bytes that programs can still take; 0 where the system does not tell."""
    try:
        text = Path("/proc/meminfo").read_text(encoding="ascii")
    except OSError:
        return 0
    return int(text.partition("MemAvailable:")[2].split()[0]) * 1024


def _processor(ram: float) -> Place:
    count = torch.get_num_threads()
    return Place(
        machine=Machine(is_processor=True, program=program_memory(), num_threads=count),
        title=f"processor, {counted(count, 'thread')}",
        limits=Limits(host=round(ram * GB) or free_memory()),
        flops=flops_of_processor(),
    )


def _elsewhere(card: KnownGPU | None, gpu: str, vram: float, ram: float) -> Place:
    memory = round(vram * GB) or (card.memory if card else 0)
    return Place(
        machine=Machine(is_processor=False, program=program_memory() + _PROGRAM_WITH_GPU, context=_CONTEXT),
        title=gpu or "a GPU",
        limits=Limits(device=memory, host=round(ram * GB)),
        flops=card.flops if card else 0.0,
        disk_rate=10 * GB,
    )
