"""Blocks compiled by torch, each kind of block once (torch.compile, "regional compilation").

A block's own `forward` is replaced from outside. What shares out its weights, or makes its activations again,
is put around it afterwards and is not compiled.
"""

import importlib.util
import os
import shutil
import sys
import sysconfig
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from reelwright.core.errors import ConfigError, suggestion
from reelwright.core.paths import cache_folder
from reelwright.execution.policy import Call
from reelwright.execution.stacks import stacks_of
from reelwright.protocols.policy_configs import KernelConfig

_INDUCTOR = "inductor"
_SAME_BYTES = ("eager", "eager_noexcept")
"""Backends that only trace, and run what they traced as it was."""
_GRAPHS_OF_GPU = ("reduce-overhead", "max-autotune")
_DYNAMIC = {"auto": None, "on": True, "off": False}
_VERSIONS = 64
"""Of a kind of block: sizes of clips, lengths of prompts, strengths of LoRAs."""
_VERSIONS_IN_ALL = 512
_CACHE_VARIABLE = "TORCHINDUCTOR_CACHE_DIR"


class CompiledBlocks:
    """A policy: what the compiler rounds otherwise, and where its graphs of a GPU's work begin anew."""

    def __init__(self, config: KernelConfig) -> None:
        is_same = config.compile_backend in _SAME_BYTES
        self.shortcut = "" if is_same else f"blocks compiled by {config.compile_backend}: rounded otherwise"
        self._records_graphs = config.compile_mode in _GRAPHS_OF_GPU

    def start(self, calls: Sequence[Call]) -> None:
        pass

    def enter(self, call: Call) -> None:
        if self._records_graphs:
            torch.compiler.cudagraph_mark_step_begin()


def compile_blocks(network: nn.Module, config: KernelConfig) -> CompiledBlocks:
    """Compile the blocks of `network.stacks` when each kind of them first runs; the others use its graph.

    Names of parameters stay as they are, and layers inside may still be exchanged.
    """
    if config.compile_backend == _INDUCTOR:
        # The next run finds there what this one compiled.
        os.environ.setdefault(_CACHE_VARIABLE, str(cache_folder() / "compiled"))
    _allow_versions(config.compile_cache_size_limit or _VERSIONS)
    compiled = torch.compile(
        _run,
        backend=config.compile_backend,
        mode=None if config.compile_mode == "default" else config.compile_mode,
        dynamic=_DYNAMIC[config.compile_dynamic],
        fullgraph=config.compile_fullgraph,
    )
    for stack in stacks_of(network):
        for block in stack:
            assert "forward" not in vars(block), "what runs around blocks comes after their compilation"
            block.forward = partial(compiled, block)
    return CompiledBlocks(config)


def check_compiling(config: KernelConfig, device: torch.device) -> None:
    """Raise ConfigError where blocks could not be compiled as configured on `device`."""
    if config.compile == "off":
        _check_idle(config)
        return
    backend, mode = config.compile_backend, config.compile_mode
    names = torch.compiler.list_backends(exclude_tags=())
    if backend not in names:
        raise ConfigError(
            f"execution.compile_backend: {backend!r} is no backend of torch {torch.__version__}."
            f" {suggestion(backend, names)}"
        )
    if backend != _INDUCTOR and mode != "default":
        raise ConfigError(
            f"execution.compile_mode: {mode} is one of the inductor's, not of {backend}'s. Leave it out, or"
            " leave out --execution.compile-backend."
        )
    if mode in _GRAPHS_OF_GPU and getattr(config, "block_swap", 0):
        raise ConfigError(
            f"execution.compile_mode: {mode} records where weights are, and block_swap moves them. Use"
            " default or max-autotune-no-cudagraphs, or leave out --execution.block-swap."
        )
    if config.compile_fullgraph and config.attention == "sage":
        raise ConfigError(
            "execution.compile_fullgraph: sage cannot be compiled, so blocks are not in one piece. Choose"
            " another --execution.attention, or leave out --execution.compile-fullgraph."
        )
    for tool, remedy in _missing_tools(device) if backend == _INDUCTOR else ():
        raise ConfigError(
            f"execution.compile: the inductor needs {tool}, which is not on this machine. {remedy}, or leave"
            " out --execution.compile."
        )


def _check_idle(config: KernelConfig) -> None:
    """Refuse settings of a compiler that does not run."""
    plain = KernelConfig()
    for name in ("backend", "mode", "dynamic", "fullgraph", "cache_size_limit"):
        field = f"compile_{name}"
        if getattr(config, field) != getattr(plain, field):
            raise ConfigError(
                f"execution.{field}: has no effect, since nothing is compiled. Add"
                " --execution.compile blocks, or leave it out."
            )


def _missing_tools(device: torch.device) -> list[tuple[str, str]]:
    """What the inductor would ask for in vain, and the way to have it."""
    compiler = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    compiler = "cl" if sys.platform == "win32" else compiler
    headers = Path(sysconfig.get_path("include")) / "Python.h"
    needed = {
        f"the C++ compiler {compiler}": (shutil.which(compiler) is not None, "Install it (apt install g++)"),
        f"Python's header files ({headers})": (headers.is_file(), "Install them (apt install python3-dev)"),
    }
    if device.type == "cuda":
        has_triton = importlib.util.find_spec("triton") is not None
        needed["Triton"] = (has_triton, "Install it (pip install triton; triton-windows on Windows)")
    return [(tool, remedy) for tool, (is_there, remedy) in needed.items() if not is_there]


def _allow_versions(count: int) -> None:
    """How many graphs torch may make of one block before it gives up; beyond, it would run as it was."""
    # The field was called otherwise before torch 2.7.
    settings: Any = importlib.import_module("torch._dynamo.config")
    name = "recompile_limit" if hasattr(settings, "recompile_limit") else "cache_size_limit"
    setattr(settings, name, count)
    setattr(settings, f"accumulated_{name}", max(count, _VERSIONS_IN_ALL))


def _run(block: nn.Module, *inputs: object, **named: object) -> object:
    forward: Callable[..., object] = type(block).forward
    return forward(block, *inputs, **named)
