"""Which device and number format to compute with, and how much memory was used."""

import sys
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from reelwright.core.errors import ConfigError


def choose_device(name: str) -> torch.device:
    """auto is the first GPU, else the processor. Raises ConfigError for a device that is not there."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", 0)
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(
            f"execution.device: {name!r} is no device. Use auto, cpu, cuda, cuda:1 or mps."
        ) from error
    available = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    if (device.index or 0) >= available.get(device.type, 0):
        there = [kind for kind, count in available.items() if count]
        raise ConfigError(f"execution.device: {name} is not on this machine. Available: {', '.join(there)}.")
    return device


def choose_dtype(
    name: str, device: torch.device, released: Literal["float32", "bfloat16", "float16"]
) -> torch.dtype:
    """auto is the released format on a GPU that has it, and float32 on a processor: far faster there."""
    if name != "auto":
        return getattr(torch, name)
    if device.type == "cpu":
        return torch.float32
    if released == "bfloat16" and device.type == "cuda" and not torch.cuda.is_bf16_supported():
        return torch.float16
    return getattr(torch, released)


def stored_dtype(name: str, released: Literal["float32", "bfloat16", "float16"]) -> torch.dtype:
    """The number format of weights that are written: the released one wherever it is computed, unless set."""
    return getattr(torch, released if name == "auto" else name)


def dtype_of(network: nn.Module) -> torch.dtype:
    """The number format of a network's inputs: that of weights that stay as they are, of 16 bits at least."""
    parameters = [each for each in network.parameters() if each.is_floating_point() and each.itemsize > 1]
    frozen = [each for each in parameters if not each.requires_grad]
    return (frozen or parameters)[0].dtype


def peak_memory(device: torch.device) -> int:
    """Most bytes in use so far: of the device, or of this process if the device is the processor.

    0 where the system does not tell (Windows).
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "win32":
        return 0
    if sys.platform == "linux":
        # Of this program alone; getrusage starts from the figure of the program that launched it.
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024
    import resource  # noqa: PLC0415 - Windows has no such module

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
