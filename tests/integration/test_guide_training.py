"""The guide's line that trains, as it stands there, on caches of the tiny model."""

import shlex
from pathlib import Path

import pytest
from safetensors import safe_open

from reelwright import families
from reelwright.cli.musubi import train_network
from reelwright.core.config import read_toml

from .training_data import losses_of, make_data

TINY = Path(families.__file__).parents[1] / "assets" / "framepack-tiny"
GUIDE = (
    "--dit path/to/dit_model --vae path/to/vae_model.safetensors --text_encoder1 path/to/text_encoder1"
    " --text_encoder2 path/to/text_encoder2 --image_encoder path/to/image_encoder_model.safetensors"
    " --dataset_config path/to/toml --sdpa --mixed_precision bf16"
    " --optimizer_type adamw8bit --learning_rate 2e-4 --gradient_checkpointing"
    " --timestep_sampling shift --weighting_scheme none --discrete_flow_shift 3.0"
    " --max_data_loader_n_workers 2 --persistent_data_loader_workers"
    " --network_module networks.lora_framepack --network_dim 32"
    " --max_train_epochs 16 --save_every_n_epochs 1 --seed 42"
    " --output_dir path/to/output_dir --output_name name-of-lora"
)
# Matrix products in bfloat16 are slow on processors, and two epochs say as much as sixteen.
SHORTER = "--mixed_precision no --max_train_epochs 2 --network_dim 2"
# There are no released tokenizers on a machine without network.
TOKENIZERS = "--tokenizer1 path/to/tokenizer --tokenizer2 path/to/tokenizer_2"
PLACES = {
    "dit_model": "transformer",
    "vae_model.safetensors": "vae",
    "image_encoder_model.safetensors": "image_encoder",
    "text_encoder1": "text_encoder",
    "text_encoder2": "text_encoder_2",
    "tokenizer": "tokenizer",
    "tokenizer_2": "tokenizer_2",
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("data"), "framepack", count=1)


@pytest.fixture
def folder(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the guide's paths lead to the tiny model and to caches made with it."""
    place = tmp_path / "path" / "to"
    place.mkdir(parents=True)
    for name, part in PLACES.items():
        (place / name).symlink_to(TINY / part)
    (place / "toml").symlink_to(data)
    monkeypatch.chdir(tmp_path)
    return place


def train(line: str) -> int:
    return train_network([*shlex.split(line), "--quiet"])


def said_of(file: Path) -> dict[str, str]:
    with safe_open(file, "pt") as opened:
        return opened.metadata()


def test_the_guide_s_line_trains_and_its_files_are_called_as_ever(folder):
    assert train(f"{GUIDE} {SHORTER} {TOKENIZERS}") == 0
    out = folder / "output_dir"
    saved = sorted(path.name for path in out.glob("*.safetensors"))
    assert saved == ["name-of-lora-000001.safetensors", "name-of-lora.safetensors"]
    said = said_of(out / "name-of-lora.safetensors")
    expected = {
        **{"ss_output_name": "name-of-lora", "ss_network_module": "networks.lora_framepack"},
        **{"ss_network_dim": "2", "ss_base_model_version": "framepack", "ss_epoch": "2", "ss_seed": "42"},
    }
    assert {name: said[name] for name in expected} == expected


def test_a_file_of_flags_and_a_state_go_on_as_the_line_without_them(folder):
    fixed = f"{GUIDE} {SHORTER} {TOKENIZERS} --save_every_n_steps 2"
    assert train(f"{fixed} --output_name whole --save_state") == 0
    (whole,) = (folder / "output_dir").glob("*_whole")
    state = whole / "states" / "step-00000002"
    (folder / "flags.toml").write_text(f'[training]\nresume = "{state}"\noutput_name = "again"\n')
    line = fixed.replace("--output_name name-of-lora ", "")
    assert train(f"{line} --config_file path/to/flags.toml") == 0
    (again,) = (folder / "output_dir").glob("*_again")
    assert losses_of(again) == losses_of(whole)[2:]
    assert read_toml(again / "recipe.toml")["seed"] == 42
