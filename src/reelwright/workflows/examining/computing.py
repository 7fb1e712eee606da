"""Devices, their memory, the number formats and the attention kernels that work on them."""

import platform
import shutil
from collections.abc import Iterator, Sequence

import psutil
import torch

from reelwright.core.events import ItemFinding
from reelwright.execution.attention import KernelFound, probe_kernels
from reelwright.execution.devices import choose_dtype
from reelwright.execution.machine import FORMATS, DeviceFound, devices_here, fault_of_format
from reelwright.workflows.examining.findings import Examined, in_gib, problem

_HEAD_SIZES = (64, 128)
_NVIDIA = "nvidia-smi"


def examine_devices() -> Examined:
    """Each device with its memory and the formats that come out right, tried with small computations."""
    devices = devices_here()
    facts: dict[str, str] = {"device that auto takes": str(devices[0].device)}
    problems = [*_absent_gpu(devices)]
    for found in devices:
        name = str(found.device)
        facts[name] = f"{found.name}; {in_gib(found.free)} of {in_gib(found.total)} are free"
        faults = {dtype: fault_of_format(found.device, dtype) for dtype in FORMATS}
        working = [_name(dtype) for dtype in FORMATS if not faults[dtype]]
        taken = choose_dtype("auto", found.device, "bfloat16")
        facts[f"{name} formats"] = f"{', '.join(working) or 'none'}; auto takes {_name(taken)} for bfloat16"
        if faults[taken] and working:
            what = f"auto takes {_name(taken)}, which does not work: {faults[taken]}"
            problems.append(problem(name, "dtype", what, f"add --execution.dtype {working[0]} to commands"))
    swap = psutil.swap_memory()
    facts["swap space"] = f"{in_gib(swap.free)} of {in_gib(swap.total)} are free" if swap.total else "none"
    return Examined(facts=facts, problems=tuple(problems))


def examine_kernels() -> Examined:
    """How attention can be computed on the device that auto takes, in the format it takes there."""
    device = devices_here()[0].device
    dtype = choose_dtype("auto", device, "bfloat16")
    fares: dict[str, list[KernelFound]] = {}
    for head_size in _HEAD_SIZES:
        for found in probe_kernels(device, dtype, head_size):
            fares.setdefault(found.name, []).append(found)
    works = {name: all(found.works for found in tried) for name, tried in fares.items()}
    facts = {f"attention on {device}": ", ".join(name for name, does in works.items() if does) or "none"}
    for name, tried in fares.items():
        if not works[name]:
            fault = next(found for found in tried if not found.works)
            facts[f"attention by {name}"] = f"{fault.reason}. {fault.remedy}".strip()
    problems = [] if works.get("sdpa", True) else [_broken_attention(fares["sdpa"])]
    return Examined(facts=facts, problems=tuple(problems))


def _broken_attention(tried: Sequence[KernelFound]) -> ItemFinding:
    fault = next(found for found in tried if not found.works)
    return problem("attention", "kernel", f"torch's own {fault.reason}", _install_torch())


def _absent_gpu(devices: Sequence[DeviceFound]) -> Iterator[ItemFinding]:
    """A GPU that there is a driver for, but that torch does not see."""
    if any(found.device.type != "cpu" for found in devices) or shutil.which(_NVIDIA) is None:
        return
    if torch.version.cuda is None and torch.version.hip is None:
        what = f"torch {torch.__version__} was built without CUDA, though there is an NVIDIA driver"
        yield problem("cuda", "torch", what, _install_torch())
    else:
        what = f"torch was built for CUDA {torch.version.cuda}, but sees no GPU"
        yield problem("cuda", "driver", what, f"run {_NVIDIA}, and update the driver if its CUDA is older")


def _install_torch() -> str:
    """PyPI's wheels have CUDA on Linux alone."""
    command = "pip install --upgrade --force-reinstall torch"
    elsewhere = " --index-url https://download.pytorch.org/whl/cu128"
    return command + (elsewhere if platform.system() == "Windows" else "")


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
