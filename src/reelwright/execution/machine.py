"""The devices of this machine, and what really works on them."""

from dataclasses import dataclass

import psutil
import torch

from reelwright.core.sizes import counted
from reelwright.execution.devices import choose_device

FORMATS = (torch.bfloat16, torch.float16, torch.float32)
"""In the order in which they are wanted."""
_BOUND = 0.05
"""How far a product may be off, as a share of its size: more than any format rounds, less than noise."""
_SIDE = 64


@dataclass(frozen=True, kw_only=True)
class DeviceFound:
    """One device; memory in bytes, 0 where the system does not tell."""

    device: torch.device
    name: str
    total: int
    free: int


def devices_here() -> list[DeviceFound]:
    """All of them, the one that auto takes first, the processor last."""
    found = [_gpu(index) for index in range(torch.cuda.device_count())]
    memory = psutil.virtual_memory()
    if not found and torch.backends.mps.is_available():
        found.append(
            DeviceFound(
                device=torch.device("mps"), name="Apple GPU", total=memory.total, free=memory.available
            )
        )
    cores, threads = psutil.cpu_count(logical=False) or 1, torch.get_num_threads()
    name = f"processor, {counted(cores, 'core')}, {counted(threads, 'thread')}"
    return [
        *found,
        DeviceFound(device=torch.device("cpu"), name=name, total=memory.total, free=memory.available),
    ]


def fault_of_format(device: torch.device, dtype: torch.dtype) -> str:
    """Why a small computation in a number format does not come out on a device; empty if it does."""
    random = torch.Generator().manual_seed(0)
    left, right = (torch.randn(_SIDE, _SIDE, generator=random) for _ in range(2))
    exact = torch.nn.functional.silu(left @ right)
    try:
        product = left.to(device, dtype) @ right.to(device, dtype)
        made = torch.nn.functional.silu(product).float().cpu()
    except (RuntimeError, TypeError, NotImplementedError) as error:
        return (str(error) or type(error).__name__).strip().splitlines()[0]
    off = float((made - exact).norm() / exact.norm())
    return "" if off <= _BOUND else f"its results are off by {off:.2g}"


def _gpu(index: int) -> DeviceFound:
    device = choose_device(f"cuda:{index}")
    free, total = torch.cuda.mem_get_info(device)
    return DeviceFound(device=device, name=torch.cuda.get_device_name(device), total=total, free=free)
