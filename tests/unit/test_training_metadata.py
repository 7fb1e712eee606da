"""Files of adapters tell how they were trained, as kohya's trainers do, and nothing private."""

import hashlib
import json
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import save

from reelwright.checkpoint.safetensors_io import read_safetensors_metadata, save_safetensors
from reelwright.protocols.train_configs import (
    AdapterConfig,
    OptimizerConfig,
    SavingConfig,
    ScheduleConfig,
    TrainConfig,
    TrainExecutionConfig,
)
from reelwright.workflows.training.metadata import start_day, training_metadata

from .training_runs import moment, open_run

# specs: FramePack 6.10, but for what a family tells and for the end, which would change the bytes.
NAMES = """
    session_id training_started_at output_name learning_rate num_train_items num_batches_per_epoch num_epochs
    steps epoch gradient_checkpointing gradient_checkpointing_cpu_offload gradient_accumulation_steps
    max_train_steps lr_warmup_steps lr_scheduler network_module network_dim network_alpha network_dropout
    network_args mixed_precision seed training_comment optimizer max_grad_norm fp8_base full_fp16 full_bf16
    datasets sd_model_name vae_name
"""
FAMILY = {
    "ss_base_model_version": "fam",
    "ss_sd_model_name": "own.safetensors",
    "ss_timestep_sampling": "shift",
    "ss_window": "9",
    "modelspec.architecture": "fam/lora",
    "modelspec.implementation": "https://example.org/fam",
}
DATASETS = [
    {"video_directory": "/data/someone/secret/clips", "resolution": [640, 384], "num_repeats": 2},
    {"image_jsonl_file": "C:\\Users\\someone\\list.jsonl", "resolution": [512, 512], "batch_size": 4},
]


def tell(tmp_path: Path, family: dict[str, str] | None = None, **config: Any) -> dict[str, str]:
    setting = open_run(
        tmp_path,
        TrainConfig(**{"name": "fox", "seed": 7, "model": "owner/some-model", "run": tmp_path, **config}),
        family=SimpleNamespace(name="fam"),
        model=SimpleNamespace(metadata=FAMILY if family is None else family, fingerprints={"dit": "abc"}),
        facts={"num_items": 12, "num_batches": 6, "num_epochs": 4, "datasets": DATASETS},
    )
    at = moment(120, num_steps=200, epoch=2, num_epochs=4)
    return training_metadata(setting, at, date(2025, 3, 1))


def test_everything_that_kohyas_trainers_tell_is_told(tmp_path: Path):
    told = tell(
        tmp_path,
        vae=Path("/models/some-vae.safetensors"),
        accumulation=2,
        adapter=AdapterConfig(rank=32, alpha=16, dropout=0.1, exclude=("proj_.*",), up_rate=4),
        optimizer=OptimizerConfig(name="adamw8bit", learning_rate=2e-4, arguments=("weight_decay=0.1",)),
        schedule=ScheduleConfig(name="cosine", warmup=0.1),
        execution=TrainExecutionConfig(activation_checkpoint=True, fp8=True),
        saving=SavingConfig(comment="first try", title="A fox", author="Me", license="MIT", tags="fox, red"),
    )
    assert {f"ss_{name}" for name in NAMES.split()} <= told.keys()
    assert "ss_training_finished_at" not in told
    assert all(isinstance(text, str) for text in told.values())
    expected = {
        "ss_output_name": "fox",
        "ss_learning_rate": "0.0002",
        "ss_optimizer": "adamw8bit(weight_decay=0.1)",
        "ss_steps": "120",
        "ss_max_train_steps": "200",
        "ss_epoch": "2",
        "ss_num_epochs": "4",
        "ss_lr_warmup_steps": "20",
        "ss_lr_scheduler": "cosine",
        "ss_gradient_accumulation_steps": "2",
        "ss_gradient_checkpointing": "True",
        "ss_fp8_base": "True",
        "ss_network_module": "networks.lora",
        "ss_network_dim": "32",
        "ss_network_alpha": "16",
        "ss_network_dropout": "0.1",
        "ss_seed": "7",
        "ss_training_comment": "first try",
        "ss_vae_name": "some-vae.safetensors",
        "ss_mixed_precision": "no",
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.title": "A fox",
        "modelspec.author": "Me",
        "modelspec.license": "MIT",
        "modelspec.tags": "fox, red",
        "modelspec.date": "2025-03-01",
        "modelspec.resolution": "512x512",
    }
    assert {key: told[key] for key in expected} == expected
    assert json.loads(told["ss_network_args"]) == {
        "exclude_patterns": "['proj_.*']",
        "loraplus_lr_ratio": "4.0",
    }


def test_what_the_family_tells_goes_before(tmp_path: Path):
    assert FAMILY.items() <= tell(tmp_path).items()
    assert tell(tmp_path, family={})["ss_sd_model_name"] == "some-model"
    assert tell(tmp_path, family={})["modelspec.architecture"] == "fam/lora"


@pytest.mark.parametrize("method", ["loha", "lokr"])
def test_other_adapters_name_their_module(tmp_path: Path, method: str):
    assert tell(tmp_path, method=method)["ss_network_module"] == f"networks.{method}"


def test_ranks_that_a_file_decides_are_not_guessed(tmp_path: Path):
    told = tell(tmp_path, adapter=AdapterConfig(weights=Path("a.safetensors"), rank_from_weights=True))
    assert "ss_network_dim" not in told


def test_files_of_whole_models_tell_nothing(tmp_path: Path):
    assert tell(tmp_path, method="full") == {}


def test_no_folder_of_the_users_machine_is_told(tmp_path: Path):
    told = tell(tmp_path, dit=Path("/data/someone/models/own.safetensors"), family={})
    text = json.dumps(told)
    assert "someone" not in text
    assert str(tmp_path) not in text
    assert json.loads(told["ss_datasets"]) == [
        {"video_directory": "clips", "resolution": [640, 384], "num_repeats": 2},
        {"image_jsonl_file": "list.jsonl", "resolution": [512, 512], "batch_size": 4},
    ]


def test_without_metadata_only_what_loading_needs_is_told(tmp_path: Path):
    told = tell(tmp_path, saving=SavingConfig(metadata=False, comment="private", author="Me"))
    assert {key for key in told if not key.startswith("modelspec.")} == {
        *("ss_base_model_version", "ss_network_module", "ss_network_dim", "ss_network_alpha"),
        *("ss_network_args", "ss_window"),
    }
    assert "private" not in json.dumps(told)
    assert told["modelspec.architecture"] == "fam/lora"


def test_the_session_follows_from_what_is_trained_and_not_from_where(tmp_path: Path):
    first, second = tell(tmp_path / "a"), tell(tmp_path / "b")
    assert first == second
    assert tell(tmp_path, seed=8)["ss_session_id"] != first["ss_session_id"]


def test_the_day_can_be_told_from_outside(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86399")
    assert start_day() == date(1970, 1, 1)


@pytest.mark.parametrize("size", [10, 40_000, 400_000], ids=["small", "one piece", "beyond"])
def test_hashes_are_those_that_kohyas_tools_compute(tmp_path: Path, size: int):
    torch.manual_seed(0)
    tensors = {"b.lora_up.weight": torch.randn(size), "a.lora_down.weight": torch.randn(size).half()}
    told = {"ss_steps": "7", "ss_comment": "für", "modelspec.title": "A fox"}
    path = tmp_path / "lora.safetensors"
    save_safetensors(path, tensors, told, has_hashes=True)
    found = read_safetensors_metadata(path)
    # What kohya's trainers do: serialize with the ss_ keys alone, hash the body, and a piece of the whole.
    serialized = save(tensors, {"ss_steps": "7", "ss_comment": "für"})
    body = serialized[8 + int.from_bytes(serialized[:8], "little") :]
    assert found["sshs_model_hash"] == hashlib.sha256(body).hexdigest()
    assert found["sshs_legacy_hash"] == hashlib.sha256(serialized[0x100000:][:0x10000]).hexdigest()[:8]
    assert {key: found[key] for key in told} == told
    written = path.read_bytes()
    assert written[8 + int.from_bytes(written[:8], "little") :] == body
    save_safetensors(path, tensors, found, has_hashes=True)
    assert path.read_bytes() == written
