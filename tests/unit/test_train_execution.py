"""What the processes of a run agree on before anything is loaded, and what they refuse."""

from datetime import timedelta
from pathlib import Path

import pytest
import torch

from reelwright.core.errors import ConfigError
from reelwright.protocols.train_configs import TrainConfig, TrainExecutionConfig
from reelwright.workflows.training.processes import open_accelerator

LAUNCHED = ("ACCELERATE_MIXED_PRECISION", "ACCELERATE_USE_FSDP", "FSDP_VERSION", "ACCELERATE_USE_DEEPSPEED")


@pytest.fixture(autouse=True)
def _not_launched(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in LAUNCHED:
        monkeypatch.delenv(name, raising=False)


def _config(method: str = "lora", **execution: object) -> TrainConfig:
    settings = TrainExecutionConfig(**{"device": "cpu", **execution})  # pyright: ignore[reportArgumentType]
    return TrainConfig(method=method, execution=settings)  # pyright: ignore[reportArgumentType]


def test_a_processor_computes_in_the_weights_own_format(tmp_path: Path) -> None:
    accelerator = open_accelerator(_config(), tmp_path)
    assert accelerator.mixed_precision == "no"
    assert accelerator.device == torch.device("cpu")
    assert accelerator.num_processes == 1


def test_what_the_launcher_says_holds_unless_the_configuration_says_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    assert open_accelerator(_config(), tmp_path).mixed_precision == "bf16"
    assert open_accelerator(_config(mixed_precision="no"), tmp_path).mixed_precision == "no"


def test_the_number_of_threads_is_that_of_the_configuration(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    try:
        open_accelerator(_config(num_threads=before + 1), tmp_path)
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)


def test_kernels_and_patience_are_those_that_were_asked_for(tmp_path: Path) -> None:
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.benchmark
    try:
        plain = open_accelerator(_config(), tmp_path)
        assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.benchmark) == before
        asked = open_accelerator(_config(process_timeout=5, allow_tf32=True, cudnn_benchmark=True), tmp_path)
        assert torch.backends.cuda.matmul.allow_tf32 and torch.backends.cudnn.benchmark
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.benchmark = before
    assert plain.init_handler is None
    assert asked.init_handler is not None
    assert asked.init_handler.timeout == timedelta(minutes=5)


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        (_config("full", fp8=True), "--method lora"),
        (_config("full", block_swap=1), "--method lora"),
        (_config(activation_offload=True), "--execution.activation-checkpoint"),
        (_config(mixed_precision="fp16"), "needs a GPU"),
        (_config(device="cuda:7"), "not on this machine"),
    ],
    ids=["fp8-full", "swap-full", "offload-alone", "fp16-processor", "no-such-gpu"],
)
def test_what_cannot_be_is_refused_with_the_way_out(
    tmp_path: Path, config: TrainConfig, complaint: str
) -> None:
    with pytest.raises(ConfigError, match=complaint):
        open_accelerator(config, tmp_path)


@pytest.mark.parametrize(
    ("variables", "complaint"),
    [
        ({"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "1"}, "fsdp_version: 2"),
        ({"ACCELERATE_USE_DEEPSPEED": "true"}, "FSDP with version 2"),
        ({"ACCELERATE_MIXED_PRECISION": "fp8"}, "--execution.fp8"),
        ({"FSDP_ACTIVATION_CHECKPOINTING": "true"}, "--execution.activation-checkpoint"),
    ],
    ids=["fsdp1", "deepspeed", "fp8", "checkpointing"],
)
def test_launchers_that_are_configured_for_something_else_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], complaint: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=complaint):
        open_accelerator(_config(), tmp_path)


def test_blocks_that_fsdp_shares_out_are_not_swapped_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(ConfigError, match="without FSDP"):
        open_accelerator(_config(block_swap=1), tmp_path)
