"""Whole denoisers that learn: everything does, and what is saved loads as released models do."""

import json
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import CogVideoXTransformer3DModel
from safetensors.torch import load_file
from torch import Tensor

from reelwright.checkpoint.safetensors_io import read_safetensors_metadata
from reelwright.core.errors import CheckpointError, FileError
from reelwright.core.events import FileSaved
from reelwright.families.cogvideox.transformer import CogVideoXTransformer
from reelwright.protocols.training import Trainables
from reelwright.workflows.training.full_trainables import full_trainables

from .lora_networks import COGVIDEOX, SUBJECTS

CONTROL = SUBJECTS["cogvideox"]


@dataclass(frozen=True, kw_only=True)
class Model:
    """What saving asks of a `TrainingModel`."""

    key_map: Any = CONTROL.key_map
    settings: dict[str, Any] = field(
        default_factory=lambda: {
            "_class_name": "CogVideoXTransformer3DModel",
            **{name: value for name, value in vars(COGVIDEOX).items() if value is not None},
        }
    )


def started(dtype: torch.dtype = torch.float32, **facts: Any) -> tuple[Trainables, dict[str, Tensor]]:
    """And the values that it has then."""
    trainables = full_trainables(CONTROL.build(), Model(**facts), dtype)  # pyright: ignore
    return trainables, {name: tensor.detach().clone() for name, tensor in trainables.tensors().items()}


def saved(trainables: Trainables, place: Path, tensors: dict[str, Tensor]) -> list[Path]:
    events = trainables.save(place, tensors, {"ss_steps": "3"})
    return [Path(event.path) for event in events if isinstance(event, FileSaved)]


def test_all_parameters_learn_in_one_group():
    network = CONTROL.build()
    trainables = full_trainables(network, Model(), torch.float32)  # pyright: ignore
    (group,) = trainables.groups()
    assert group.rate_factor == 1.0
    assert dict(network.named_parameters()).keys() == group.parameters.keys() == trainables.tensors().keys()
    assert all(parameter.requires_grad for parameter in group.parameters.values())
    with trainables.untrained() as is_untrained:
        assert not is_untrained
    assert torch.tensor(trainables.change()).isnan()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_diffusers_loads_what_is_saved(dtype: torch.dtype, tmp_path: Path):
    trainables, tensors = started(dtype)
    changed = {name: tensor + 0.5 for name, tensor in tensors.items()}
    files = saved(trainables, tmp_path / "model-1.5", changed)
    assert [file.name for file in files] == ["diffusion_pytorch_model.safetensors", "config.json"]
    assert all(file.parent == tmp_path / "model-1.5" for file in files)
    loaded = CogVideoXTransformer3DModel.from_pretrained(tmp_path / "model-1.5", torch_dtype=dtype)
    state = loaded.state_dict()
    expected = CONTROL.key_map.to_file(changed)
    assert state.keys() >= expected.keys()
    assert all(torch.equal(state[name], tensor.to(dtype)) for name, tensor in expected.items())
    assert read_safetensors_metadata(files[0])["ss_steps"] == "3"
    assert {tensor.dtype for tensor in load_file(files[0]).values()} == {dtype}


def test_tables_that_do_not_learn_are_saved_too(tmp_path: Path):
    config = replace(COGVIDEOX, use_learned_positional_embeddings=True, use_rotary_positional_embeddings=True)
    network = CogVideoXTransformer(config)
    network.get_buffer("patch_embedding.positions").fill_(0.25)
    trainables = full_trainables(network, Model(), torch.float32)  # pyright: ignore
    tensors = {name: tensor.detach() for name, tensor in trainables.tensors().items()}
    assert "patch_embedding.positions" not in tensors
    (weights, _) = saved(trainables, tmp_path / "model", tensors)
    assert load_file(weights)["patch_embed.pos_embedding"].unique().tolist() == [0.25]


def test_values_are_put_back_exactly_and_others_refused():
    trainables, tensors = started()
    changed = {name: tensor + 0.5 for name, tensor in tensors.items()}
    trainables.load(changed)
    assert all(torch.equal(changed[name], tensor) for name, tensor in trainables.tensors().items())
    with pytest.raises(CheckpointError, match="no values are given"):
        trainables.load({})


def test_a_save_that_fails_leaves_the_folder_before_it(tmp_path: Path, monkeypatch):
    trainables, tensors = started()
    place = tmp_path / "model"
    saved(trainables, place, tensors)
    before = {file.name: file.read_bytes() for file in place.iterdir()}

    def full(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("reelwright.workflows.training.full_trainables.write_json", full)
    with pytest.raises(FileError, match="The disk is full"):
        saved(trainables, place, {name: tensor + 1 for name, tensor in tensors.items()})
    assert {file.name: file.read_bytes() for file in place.iterdir()} == before
    assert [each.name for each in tmp_path.iterdir()] == ["model"]


def test_a_later_save_takes_the_place_of_an_earlier_one(tmp_path: Path):
    trainables, tensors = started()
    place = tmp_path / "model"
    place.mkdir()
    (place / "diffusion_pytorch_model-00001-of-00002.safetensors").write_bytes(b"old")
    saved(trainables, place, tensors)
    names = sorted(each.name for each in place.iterdir())
    assert names == ["config.json", "diffusion_pytorch_model.safetensors"]
    assert json.loads((place / "config.json").read_text())["num_layers"] == COGVIDEOX.num_layers
