"""The choice of device and number format."""

import pytest
import torch

from reelwright.core.errors import ConfigError
from reelwright.execution.devices import choose_device, choose_dtype, peak_memory

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)


@pytest.mark.parametrize(
    ("has_gpu", "has_mps", "expected"),
    [(True, False, "cuda:0"), (False, True, "mps"), (False, False, "cpu"), (True, True, "cuda:0")],
)
def test_auto_takes_the_first_gpu_else_the_processor(monkeypatch, has_gpu, has_mps, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: has_mps)
    assert str(choose_device("auto")) == expected


def test_a_device_that_is_not_there_is_refused_with_those_that_are(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert choose_device("cuda:0") == CUDA
    with pytest.raises(ConfigError, match=r"execution\.device: cuda:1 is not on this machine.*cpu, cuda"):
        choose_device("cuda:1")


@pytest.mark.parametrize("name", ["gpu", "cuda:x", ""])
def test_what_is_no_device_is_refused(name):
    with pytest.raises(ConfigError, match=r"execution\.device: .*Use auto, cpu"):
        choose_device(name)


def test_a_named_format_is_taken_on_any_device():
    assert choose_dtype("bfloat16", CPU, "float16") is torch.bfloat16
    assert choose_dtype("float32", CUDA, "float16") is torch.float32


def test_auto_computes_in_single_precision_on_a_processor():
    assert choose_dtype("auto", CPU, "bfloat16") is torch.float32


@pytest.mark.parametrize(
    ("released", "has_bfloat16", "expected"),
    [
        ("bfloat16", True, torch.bfloat16),
        ("bfloat16", False, torch.float16),
        ("float16", True, torch.float16),
        ("float32", True, torch.float32),
    ],
)
def test_auto_takes_the_released_format_on_a_gpu_that_has_it(monkeypatch, released, has_bfloat16, expected):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: has_bfloat16)
    assert choose_dtype("auto", CUDA, released) is expected


def test_peak_memory_counts_bytes_and_never_falls():
    before = peak_memory(CPU)
    block = torch.ones(50 << 20, dtype=torch.uint8)
    after = peak_memory(CPU)
    assert block.sum() == 50 << 20
    assert 50 << 20 < before <= after < 1 << 40
