"""Damaged, foreign and incomplete models are told apart before anything is loaded."""

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

TRANSFORMER = "transformer/diffusion_pytorch_model.safetensors"
VAE = "vae/diffusion_pytorch_model.safetensors"
TEXT = "text_encoder/model.safetensors"


@pytest.fixture
def model(tmp_path: Path, model_of: Callable[[str], Path]) -> Path:
    """A model folder to damage."""
    return Path(shutil.copytree(model_of("text"), tmp_path / "model"))


@pytest.fixture
def said(refused: Callable[..., str]) -> Callable[..., str]:
    """What is said of the model, from its place in the folder on."""

    def run(*words: object) -> str:
        return refused("--model", "./model", "--run", "run", *words, code=1)

    return run


@pytest.mark.parametrize("part", ["transformer", "vae", "text_encoder", "tokenizer", "scheduler"])
def test_a_missing_part_is_named(model, said, part):
    shutil.rmtree(model / part)
    assert f"model: {part}: missing." in said()


def test_all_missing_parts_are_named_at_once(model, said):
    for part in ("transformer", "vae"):
        shutil.rmtree(model / part)
    assert "transformer, vae: missing. A model folder in the diffusers layout has" in said()


@pytest.mark.parametrize(
    "file", [TRANSFORMER, VAE, TEXT, "tokenizer/spiece.model", "scheduler/scheduler_config.json"]
)
def test_a_missing_file_is_named_by_its_folder(model, said, file):
    (model / file).unlink()
    assert f"model/{Path(file).parent}" in said()


@pytest.mark.parametrize("file", [TRANSFORMER, VAE, TEXT])
def test_truncated_weights_say_how_much_is_missing(model, said, file):
    content = (model / file).read_bytes()
    (model / file).write_bytes(content[:-1000])
    assert f"model/{file}: the file ends early, 1,000 bytes are missing." in said()


@pytest.mark.parametrize(
    "file",
    ["transformer/config.json", "vae/config.json", "text_encoder/config.json", "tokenizer/spiece.model"],
)
def test_truncated_settings_are_named(model, said, file):
    content = (model / file).read_bytes()
    (model / file).write_bytes(content[: len(content) // 2])
    message = said()
    assert f"model/{file}: " in message
    assert "damaged" in message


class Attack:
    """Runs a program when it is unpickled."""

    def __reduce__(self):
        return os.system, ("touch attacked",)


@pytest.mark.parametrize("write", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content))])
def test_a_pickle_is_refused_and_not_run(model, said, tmp_path, write):
    (model / TRANSFORMER).unlink()
    write({"weight": Attack()}, model / "transformer" / "diffusion_pytorch_model.bin")
    assert "loading it could run any program" in said()
    assert not (tmp_path / "attacked").exists()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 1234567\n", "git lfs pull"),
        ("<!DOCTYPE html><html>Sign in</html>", "this is a web page"),
        ("", "the file is empty"),
        ("GGUF....", "cut short or damaged"),
        ("hello world, this is a text", "not a file of weights"),
    ],
)
@pytest.mark.parametrize("file", [TRANSFORMER, VAE, TEXT])
def test_what_is_left_of_a_failed_download_is_told(model, said, file, content, reason):
    (model / file).write_text(content)
    message = said()
    assert f"model/{file}: " in message
    assert reason in message


@pytest.mark.parametrize(("file", "other"), [(TRANSFORMER, VAE), (VAE, TEXT), (TEXT, TRANSFORMER)])
def test_weights_of_another_part_are_told_from_those_of_this(model, said, file, other):
    shutil.copy(model / other, model / file)
    message = said()
    assert f"model/{file}: " in message
    assert "missing" in message
    assert "unexpected" in message


def test_weights_of_another_depth_name_the_tensors_that_lack(model, said):
    path = model / "transformer" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "num_layers": 3}))
    assert "24 missing: transformer_blocks.2." in said()


def test_settings_of_the_wrong_kind_are_named(model, said):
    path = model / "transformer" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "num_layers": "two"}))
    assert "model/transformer/config.json: num_layers: 'two' is not a whole number." in said()


def test_settings_of_another_network_are_refused(model, said):
    path = model / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "prediction_type": "epsilon"}))
    assert "prediction_type is 'epsilon'" in said()


def test_a_text_encoder_of_another_width_is_refused(model, said, model_of):
    other = model_of("wide-text") / "text_encoder"
    assert "gives 96 features per token; model/transformer reads 64." in said("--text-encoder", other)


@pytest.mark.parametrize("flag", ["--dit", "--vae", "--text-encoder"])
def test_single_files_that_are_not_there_are_named(model, said, flag):
    assert "nowhere.safetensors: there is no such file" in said(flag, "nowhere.safetensors")
