"""Kernels of attention: tried before they are used, in the layout that each of them takes."""

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from reelwright.core.errors import ConfigError
from reelwright.execution.attention import (
    KernelFound,
    attend_with,
    check_learning_kernel,
    choose_kernel,
    probe_kernels,
)
from reelwright.nn.attention import FullAttention
from reelwright.protocols.policy_configs import AttentionKernel, KernelConfig

from .lora_networks import COGVIDEOX, SUBJECTS
from .training_questions import QUESTIONS, error

CPU = torch.device("cpu")
THIRD_PARTY = ("flash_attn", "sage", "xformers")
Provide = Callable[..., None]


def _by_hand(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention as the paper writes it; heads before tokens."""
    weights = (query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5).softmax(-1)
    return weights @ value


def _tokens_first(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """As flash_attn.flash_attn_func and xformers.ops.memory_efficient_attention: [B, L, N, K]."""
    return _by_hand(*(each.transpose(1, 2) for each in (query, key, value))).transpose(1, 2)


def _sageattn(query: Tensor, key: Tensor, value: Tensor, tensor_layout: str = "HND") -> Tensor:
    """As sageattention.sageattn, which rounds queries and keys."""
    assert tensor_layout == "HND"
    return _by_hand((query * 8).round() / 8, key, value)


@pytest.fixture
def provide(monkeypatch: pytest.MonkeyPatch) -> Provide:
    """Have a package that is not installed, with one function."""

    def put(package: str, **functions: Any) -> None:
        module = ModuleType(package)
        vars(module).update(functions)
        monkeypatch.setitem(sys.modules, package, module)

    return put


@pytest.fixture
def installed(provide: Provide) -> None:
    provide("flash_attn", flash_attn_func=_tokens_first)
    provide("xformers")
    provide("xformers.ops", memory_efficient_attention=_tokens_first)
    provide("sageattention", sageattn=_sageattn)


def _found(name: str, dtype: torch.dtype = torch.float32, **options: bool) -> KernelFound:
    return next(found for found in probe_kernels(CPU, dtype, 64, **options) if found.name == name)


def _heads(num_tokens: int = 24, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    random = torch.Generator().manual_seed(1)
    return [torch.randn(2, 3, num_tokens, 16, generator=random).to(dtype) for _ in range(3)]


def test_on_a_processor_torchs_own_kernels_work_and_others_say_what_is_missing() -> None:
    found = {each.name: each for each in probe_kernels(CPU, torch.float32, 64)}
    assert {name for name, each in found.items() if each.works} == {"sdpa", "flash", "math", "flex"}
    assert all(each.error < 1e-5 for each in found.values() if each.works)
    assert all(each.reason and each.remedy for each in found.values() if not each.works)
    assert "pip install" in found["flash_attn"].remedy


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("name", THIRD_PARTY)
@pytest.mark.usefixtures("installed")
def test_a_package_is_asked_in_its_own_layout(name: AttentionKernel, dtype: torch.dtype) -> None:
    chosen = choose_kernel(name, CPU, dtype, 16)
    assert (chosen.name, chosen.notices) == (name, [])
    heads = _heads(dtype=dtype)
    attended = chosen.kernel(*heads)
    assert (attended.shape, attended.dtype) == (heads[0].shape, dtype)
    exact = _by_hand(*(each.float() for each in heads))
    assert (attended.float() - exact).abs().max() < (0.1 if name == "sage" else 0.03)


def test_the_third_flash_attention_may_return_more_than_the_answer(provide: Provide) -> None:
    provide("flash_attn", flash_attn_func=lambda *heads: (_tokens_first(*heads), torch.zeros(1)))
    assert torch.equal(
        choose_kernel("flash_attn", CPU, torch.float32, 16).kernel(*_heads()), _by_hand(*_heads())
    )


@pytest.mark.usefixtures("installed")
def test_only_what_approximates_is_allowed_to_be_rough(provide: Provide) -> None:
    assert _found("sage").error > 1e-2
    provide(
        "flash_attn", flash_attn_func=lambda *heads: _tokens_first((heads[0] * 8).round() / 8, *heads[1:])
    )
    rough = _found("flash_attn")
    assert not rough.works
    assert "is off by" in rough.reason


def test_a_kernel_that_mixes_up_heads_and_tokens_is_not_used(provide: Provide) -> None:
    provide("flash_attn", flash_attn_func=_by_hand)
    chosen = choose_kernel("flash_attn", CPU, torch.float32, 16)
    assert chosen.name == "sdpa"
    assert "flash_attn is off by" in chosen.notices[0]


@pytest.mark.parametrize("failure", [RuntimeError, AssertionError, ValueError, NotImplementedError])
def test_what_fails_on_the_device_is_replaced_and_said(provide: Provide, failure: type[Exception]) -> None:
    def fail(*_: Tensor) -> Tensor:
        raise failure("FlashAttention only supports Ampere GPUs or newer.\nmore lines")

    provide("flash_attn", flash_attn_func=fail)
    chosen = choose_kernel("flash_attn", CPU, torch.float32, 16)
    (notice,) = chosen.notices
    assert (chosen.name, chosen.shortcut) == ("sdpa", "")
    assert "heads of 16 in float32 on cpu (FlashAttention only supports Ampere GPUs or newer);" in notice
    assert "attention is torch's own instead. To have it: pip install flash-attn" in notice


@pytest.mark.parametrize("name", [*THIRD_PARTY, "efficient", "cudnn"])
def test_what_is_not_there_is_replaced_and_said(name: AttentionKernel) -> None:
    chosen = choose_kernel(name, CPU, torch.float32, 16)
    assert chosen.kernel is F.scaled_dot_product_attention
    assert chosen.notices[0].startswith(f"execution.attention: {name} ")


@pytest.mark.usefixtures("installed")
def test_auto_is_torchs_own_on_a_processor_whatever_is_installed() -> None:
    chosen = choose_kernel("auto", CPU, torch.float32, 16)
    assert (chosen.kernel, chosen.notices) == (F.scaled_dot_product_attention, ())


@pytest.mark.usefixtures("installed")
def test_mixed_precision_is_what_packages_are_asked_in() -> None:
    # Norms leave queries and keys in float32 where values are rounded.
    query, key, value = _heads()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        attended = choose_kernel("xformers", CPU, torch.bfloat16, 16).kernel(query, key, value.bfloat16())
    assert attended.dtype == torch.bfloat16


@pytest.mark.parametrize("family", sorted(SUBJECTS))
@pytest.mark.parametrize("name", ["flash", "math", "flash_attn", "xformers"])
@pytest.mark.usefixtures("installed")
def test_every_kernel_gives_a_whole_network_the_same_answer(family: str, name: AttentionKernel) -> None:
    network, question = SUBJECTS[family].build(), QUESTIONS[family](0)
    with torch.no_grad():
        expected = network(question.latents, question.timestep, question.conditions)
        policies, notices = attend_with(network, name, device=CPU, dtype=torch.float32)
        answer = network(question.latents, question.timestep, question.conditions)
    assert notices == []
    assert name in policies[0].shortcut
    kernels = {module.kernel for module in network.modules() if isinstance(module, FullAttention)}
    assert len(kernels) == 1 and F.scaled_dot_product_attention not in kernels
    torch.testing.assert_close(answer, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.usefixtures("installed")
def test_the_record_tells_of_8_bits() -> None:
    network = SUBJECTS["cogvideox"].build()
    (policy,), _ = attend_with(network, "sage", device=CPU, dtype=torch.float32)
    assert "8 bits" in policy.shortcut
    assert attend_with(network, "auto", device=CPU, dtype=torch.float32) == ([], [])


# Learning.


@pytest.mark.parametrize("name", ["sdpa", "math", "xformers"])
@pytest.mark.usefixtures("installed")
def test_gradients_go_through_a_kernel_that_was_tried_with_them(name: AttentionKernel) -> None:
    network, question = SUBJECTS["cogvideox"].build().requires_grad_(), QUESTIONS["cogvideox"](0)
    error(network, question).backward()
    expected = {key: p.grad.clone() for key, p in network.named_parameters() if p.grad is not None}
    network.zero_grad()
    assert attend_with(network, name, device=CPU, dtype=torch.float32, learns=True)[1] == []
    error(network, question).backward()
    for key, parameter in network.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(parameter.grad, expected[key], atol=1e-5, rtol=1e-4)


def test_a_kernel_without_a_backward_pass_is_not_for_learning(provide: Provide) -> None:
    provide("flash_attn", flash_attn_func=lambda *heads: _tokens_first(*heads).detach())
    assert _found("flash_attn").works
    assert not _found("flash_attn", learns=True).works
    assert _found("flex").works
    assert "backward" in _found("flex", learns=True).reason


@pytest.mark.parametrize(("name", "device"), [("sage", "cuda"), ("sage", "cpu"), ("flex", "cpu")])
def test_learning_through_what_cannot_is_refused_with_the_way_out(name: AttentionKernel, device: str) -> None:
    with pytest.raises(ConfigError, match=r"no backward pass.*Use auto"):
        check_learning_kernel(KernelConfig(attention=name), torch.device(device))
    check_learning_kernel(KernelConfig(attention="flex"), torch.device("cuda"))


def test_networks_say_how_large_their_heads_are() -> None:
    network = SUBJECTS["cogvideox"].build()
    sizes = {module.head_size for module in network.modules() if isinstance(module, FullAttention)}
    assert sizes == {COGVIDEOX.attention_head_dim}
