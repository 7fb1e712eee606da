"""Who computes attention: kernels are tried on the device before they are trusted.

A kernel is tried with a few tokens in the number format and with the head size of the model; what it makes of
them must be what torch's plain arithmetic in float32 makes of the same numbers, but for rounding.
"""

import importlib
import math
import subprocess
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from reelwright.core.errors import ConfigError
from reelwright.execution.policy import Policy, Rounded
from reelwright.nn.attention import FullAttention, Kernel, computed_in
from reelwright.protocols.policy_configs import AttentionKernel, KernelConfig

_BOUNDS = {torch.float32: 2e-3, torch.float16: 5e-3, torch.bfloat16: 2e-2}
"""How far results may be off, as a share of their size: a few times the rounding of the format, which is that
of TF32 for float32. A kernel that mixes up heads and tokens is off by 1."""
_ROUGH_BOUND = 0.1
_HOPPER = 9
_NUM_TOKENS = 72
"""No multiple of any kernel's tile."""
_FAILURES = (
    *(ImportError, OSError, RuntimeError, ValueError, TypeError, AttributeError, AssertionError, LookupError),
    subprocess.SubprocessError,
)
"""What kernels raise where they cannot work; those written in Triton also start a compiler."""


@dataclass(frozen=True, kw_only=True)
class KernelFound:
    """How a kernel fared on a device."""

    name: AttentionKernel
    works: bool
    reason: str = ""
    """Why it cannot be used."""
    remedy: str = ""
    """What to do to have it."""
    error: float = math.nan
    """How far its results were off, as a share of their size."""


@dataclass(frozen=True, kw_only=True)
class ChosenKernel:
    """The kernel that is taken, and what a user should know of it."""

    name: AttentionKernel
    kernel: Kernel
    notices: Sequence[str] = ()
    shortcut: str = ""
    """What it does otherwise than torch's own choice, for the record; empty for that."""


def attend_with(
    network: nn.Module,
    wanted: AttentionKernel,
    *,
    device: torch.device,
    dtype: torch.dtype,
    learns: bool = False,
) -> tuple[list[Policy], list[str]]:
    """Have a network attend with a kernel, or with the next best one; and what a user should know, in words.

    `dtype` is what it computes in; with `learns` the kernel must have a backward pass too.
    """
    places = [module for module in network.modules() if isinstance(module, FullAttention)]
    policies: list[Policy] = []
    notices: list[str] = []
    for head_size in sorted({place.head_size for place in places}):
        chosen = choose_kernel(wanted, device, dtype, head_size, learns=learns)
        for place in places:
            if place.head_size == head_size:
                place.kernel = chosen.kernel
        policies += [Rounded(chosen.shortcut)] if chosen.shortcut else []
        notices += chosen.notices
    return policies, notices


def check_learning_kernel(config: KernelConfig, device: torch.device) -> None:
    """Raise ConfigError for a kernel that has no backward pass."""
    if config.attention == "sage" or (config.attention == "flex" and device.type == "cpu"):
        where = " on a processor" if config.attention == "flex" else ""
        raise ConfigError(
            f"execution.attention: {config.attention} has no backward pass{where}, so nothing can learn"
            " through it. Use auto, sdpa, flash_attn or xformers."
        )


def choose_kernel(
    wanted: AttentionKernel,
    device: torch.device,
    dtype: torch.dtype,
    head_size: int,
    *,
    learns: bool = False,
) -> ChosenKernel:
    """The kernel that is wanted if it works, else torch's own choice, else its plain arithmetic.

    auto takes FlashAttention where it is installed, on a GPU.
    """
    if wanted == "auto" and device.type == "cpu":
        return ChosenKernel(name="sdpa", kernel=F.scaled_dot_product_attention)
    first: AttentionKernel = "flash_attn" if wanted == "auto" else wanted
    candidates: tuple[AttentionKernel, ...] = (first, "sdpa", "math")
    notices: list[str] = []
    for name in dict.fromkeys(candidates):
        found, kernel = _try(name, device, dtype, head_size, learns=learns)
        if kernel is not None and found.works:
            shortcut = "" if name == "sdpa" else _CANDIDATES[name].shortcut or f"attention by {name}"
            return ChosenKernel(name=name, kernel=kernel, notices=notices, shortcut=shortcut)
        if name == wanted:
            notices.append(_notice(found))
    return ChosenKernel(name="sdpa", kernel=F.scaled_dot_product_attention, notices=notices)


def probe_kernels(
    device: torch.device, dtype: torch.dtype, head_size: int, *, learns: bool = False
) -> list[KernelFound]:
    """How each kernel fares with heads of that size; with `learns`, in the backward pass too."""
    return [_try(name, device, dtype, head_size, learns=learns)[0] for name in _CANDIDATES]


def _notice(found: KernelFound) -> str:
    way_out = f" To have it: {found.remedy}" if found.remedy else ""
    return f"execution.attention: {found.name} {found.reason}; attention is torch's own instead.{way_out}"


def _try(
    name: AttentionKernel, device: torch.device, dtype: torch.dtype, head_size: int, *, learns: bool
) -> tuple[KernelFound, Kernel | None]:
    candidate = _CANDIDATES[name]
    missing = partial(KernelFound, name=name, works=False, remedy=candidate.remedy)
    try:
        kernel = candidate.build(device)
    except (ImportError, OSError, AttributeError) as failure:
        return missing(reason=f"is not installed ({_first_sentence(failure)})"), None
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            error = _error_of(kernel, device, dtype, head_size, learns=learns)
        except _FAILURES as failure:
            told = [_first_sentence(warning.message) for warning in said] if device.type == "cuda" else []
            why = "; ".join([_first_sentence(failure), *told])
            return missing(reason=f"does not run with {_case(device, dtype, head_size)} ({why})"), None
    bound = _ROUGH_BOUND if candidate.is_rough else _BOUNDS.get(dtype, _ROUGH_BOUND)
    if not error <= bound:
        reason = f"is off by {error:.2g} with {_case(device, dtype, head_size)}, where {bound:g} is allowed"
        return missing(reason=reason, error=error), None
    return KernelFound(name=name, works=True, error=error), kernel


def _case(device: torch.device, dtype: torch.dtype, head_size: int) -> str:
    return f"heads of {head_size} in {str(dtype).removeprefix('torch.')} on {device.type}"


def _first_sentence(failure: object) -> str:
    return (str(failure) or type(failure).__name__).strip().splitlines()[0].partition(". ")[0].rstrip(".")


def _error_of(
    kernel: Kernel, device: torch.device, dtype: torch.dtype, head_size: int, *, learns: bool
) -> float:
    """The largest relative error of the results and, with `learns`, of the gradients."""
    random = torch.Generator().manual_seed(0)
    shape = (2, 3, _NUM_TOKENS, head_size)
    *heads, gradient = (torch.randn(shape, generator=random).to(device, dtype) for _ in range(4))
    made = _answers(kernel, heads, gradient, learns=learns)
    exact = _answers(_MATH, [each.float() for each in heads], gradient.float(), learns=learns)
    errors = [(a.float() - b).norm() / b.norm() for a, b in zip(made, exact, strict=True)]
    return float(torch.stack(errors).max())


def _answers(kernel: Kernel, heads: Sequence[Tensor], gradient: Tensor, *, learns: bool) -> list[Tensor]:
    if not learns:
        with torch.no_grad():
            return [kernel(*heads)]
    with torch.enable_grad():
        learning = [each.clone().requires_grad_() for each in heads]
        attended = kernel(*learning)
        return [attended.detach(), *torch.autograd.grad(attended, learning, gradient)]


def _of_torch(backend: SDPBackend) -> Kernel:
    def attend(query_BNLK: Tensor, key_BNLK: Tensor, value_BNLK: Tensor) -> Tensor:
        with sdpa_kernel(backend):
            return F.scaled_dot_product_attention(query_BNLK, key_BNLK, value_BNLK)

    return attend


_MATH = _of_torch(SDPBackend.MATH)


def _flash_attn(device: torch.device) -> Kernel:
    """The third version is made for Hopper, and lies in a module of its own."""
    if device.type == "cuda" and torch.cuda.get_device_capability(device)[0] == _HOPPER:
        try:
            return _with_tokens_first(importlib.import_module("flash_attn_interface").flash_attn_func)
        except ImportError:
            pass
    return _with_tokens_first(importlib.import_module("flash_attn").flash_attn_func)


def _xformers(_: torch.device) -> Kernel:
    return _with_tokens_first(importlib.import_module("xformers.ops").memory_efficient_attention)


def _with_tokens_first(function: Callable[..., Any]) -> Kernel:
    """Of a function that takes and returns [B, L, N, K], or that and more."""

    def attend(query_BNLK: Tensor, key_BNLK: Tensor, value_BNLK: Tensor) -> Tensor:
        heads = _in_one_format(query_BNLK, key_BNLK, value_BNLK)
        attended = function(*(each.transpose(1, 2) for each in heads))
        # The first releases of FlashAttention 3 return the sums of their exponentials too.
        return (attended[0] if isinstance(attended, tuple) else attended).transpose(1, 2)

    return attend


def _sage(_: torch.device) -> Kernel:
    function = importlib.import_module("sageattention").sageattn

    def attend(query_BNLK: Tensor, key_BNLK: Tensor, value_BNLK: Tensor) -> Tensor:
        return function(*_in_one_format(query_BNLK, key_BNLK, value_BNLK), tensor_layout="HND")

    # It chooses its device anew each time, which a compiler cannot follow.
    alone: Any = torch.compiler.disable(attend)
    return alone


def _flex(device: torch.device) -> Kernel:
    """On a GPU torch makes a kernel of it; elsewhere it is plain arithmetic."""
    function: Callable[..., Any] = importlib.import_module("torch.nn.attention.flex_attention").flex_attention
    if device.type == "cuda":
        function = torch.compile(function)

    def attend(query_BNLK: Tensor, key_BNLK: Tensor, value_BNLK: Tensor) -> Tensor:
        return function(*_in_one_format(query_BNLK, key_BNLK, value_BNLK))

    return attend


def _in_one_format(*heads: Tensor) -> list[Tensor]:
    """What torch's own attention does by itself where layers compute in mixed precision."""
    dtype = computed_in(heads[-1])
    return [each.to(dtype) for each in heads]


@dataclass(frozen=True, kw_only=True)
class _Candidate:
    build: Callable[[torch.device], Kernel]
    remedy: str = ""
    is_rough: bool = False
    shortcut: str = ""


_ANOTHER = "Take auto, which takes what there is."
_CANDIDATES: dict[AttentionKernel, _Candidate] = {
    "sdpa": _Candidate(build=lambda _: F.scaled_dot_product_attention),
    "flash": _Candidate(build=lambda _: _of_torch(SDPBackend.FLASH_ATTENTION), remedy=_ANOTHER),
    "efficient": _Candidate(build=lambda _: _of_torch(SDPBackend.EFFICIENT_ATTENTION), remedy=_ANOTHER),
    "cudnn": _Candidate(build=lambda _: _of_torch(SDPBackend.CUDNN_ATTENTION), remedy=_ANOTHER),
    "math": _Candidate(build=lambda _: _MATH),
    "flash_attn": _Candidate(
        build=_flash_attn,
        remedy="pip install flash-attn --no-build-isolation; it needs an NVIDIA GPU since Ampere, and 16"
        " bits.",
    ),
    "sage": _Candidate(
        build=_sage,
        remedy="pip install 'reelwright[sage]'; it needs an NVIDIA GPU since Ampere, and 16 bits.",
        is_rough=True,
        shortcut="attention by sage: queries and keys in 8 bits",
    ),
    "xformers": _Candidate(build=_xformers, remedy="pip install 'reelwright[xformers]'; it needs a GPU."),
    "flex": _Candidate(build=_flex, remedy=_ANOTHER),
}
