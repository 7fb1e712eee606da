"""Finding the parts of a checkpoint: folders, single files, original files, and what is wrong with them."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from reelwright.checkpoint.safetensors_io import save_safetensors
from reelwright.core.errors import CheckpointError, ConfigError, FileError, UserError
from reelwright.families.cogvideox import key_maps
from reelwright.families.cogvideox.autoencoder import CogVideoXAutoencoder
from reelwright.families.cogvideox.checkpoints import Layout, load_autoencoder, load_transformer, locate
from reelwright.families.cogvideox.config import (
    AutoencoderConfig,
    CogVideoXGenerate,
    Compatibility,
    SchedulerConfig,
    TransformerConfig,
)
from reelwright.families.cogvideox.generate import CogVideoXSession
from reelwright.families.cogvideox.requests import resolve
from reelwright.families.cogvideox.tiny import write_model
from reelwright.protocols.family import Segment

from .released_files import sparse_safetensors

CPU = torch.device("cpu")
SMALL = TransformerConfig(
    num_layers=1,
    num_attention_heads=1,
    time_embed_dim=16,
    text_embed_dim=16,
    use_rotary_positional_embeddings=True,
)
"""Of the released clip size, which single files do not tell."""
SMALL_AUTOENCODER = AutoencoderConfig(
    block_out_channels=(4, 4, 4, 4), layers_per_block=1, norm_num_groups=2, scaling_factor=0.7
)


def write_small(folder: Path, **changes) -> Path:
    options = {"transformer": SMALL, "autoencoder": SMALL_AUTOENCODER, "dtype": torch.float32}
    write_model(folder, **{**options, **changes})
    return folder


@pytest.fixture(scope="module")
def released(tmp_path_factory) -> Path:
    """A whole model; nobody writes into it."""
    return write_small(tmp_path_factory.mktemp("released"))


@pytest.fixture
def folder(released, tmp_path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(released, tmp_path / "model"))


def asked(model: Path | str, **options) -> CogVideoXGenerate:
    return CogVideoXGenerate(**{"model": str(model), "prompt": "a red ball", "seed": 3, **options})


def refusal(config: CogVideoXGenerate, kind: type[UserError] = CheckpointError) -> str:
    with pytest.raises(kind) as caught:
        locate(config)
    return str(caught.value)


def change_settings(path: Path, **settings):
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


def weights_of(model) -> dict[str, Tensor]:
    return load_transformer(model, CPU, torch.float32).state_dict()


def latents_of(config: CogVideoXGenerate) -> Tensor:
    """A clip of two steps, small and short."""
    config = replace(config, height=32, width=32, num_frames=9, steps=2, guidance_scale=2.0)
    model = locate(config)
    made = CogVideoXSession(model, config.execution).generate([resolve(config, model)], lambda key: None)
    (segment,) = [item for item in made if isinstance(item, Segment)]
    return segment.latents_BCTHW


def assert_same(first: dict[str, Tensor], second: dict[str, Tensor]):
    assert set(first) == set(second)
    assert all(torch.equal(first[name], second[name]) for name in first)


def transformer_state(model: Path) -> dict[str, Tensor]:
    """In our names."""
    return weights_of(locate(asked(model)))


def test_a_folder_is_found_with_all_its_settings(released):
    model = locate(asked(released))
    assert model.transformer == SMALL
    assert model.autoencoder == SMALL_AUTOENCODER
    assert model.scheduler == SchedulerConfig()
    assert (model.layout, model.default_sampler) == (Layout.TEXT, "dpm")
    assert {"transformer", "vae", "text_encoder", "tokenizer"} <= set(model.fingerprints)
    assert any("random" in notice for notice in model.notices)


def test_the_embedded_model_needs_no_files_of_the_user():
    model = locate(asked("tiny"))
    assert model.layout is Layout.TEXT
    assert model.text.width == model.transformer.text_embed_dim


@pytest.mark.parametrize(
    ("name", "sampler"), [("CogVideoXDDIMScheduler", "ddim"), ("CogVideoXDPMScheduler", "dpm")]
)
def test_the_sampler_is_the_one_a_model_was_released_with(folder, name, sampler):
    change_settings(folder / "scheduler" / "scheduler_config.json", _class_name=name, snr_shift_scale=3.0)
    model = locate(asked(folder))
    assert model.default_sampler == sampler
    assert model.scheduler.snr_shift_scale == 3.0


@pytest.mark.parametrize("name", ["5bb", "1.5-5b-i2w", "tinny"])
def test_an_unknown_name_is_refused_with_the_nearest_and_all_others(name):
    message = refusal(asked(name), ConfigError)
    nearest = {"5bb": "5b", "1.5-5b-i2w": "1.5-5b-i2v", "tinny": "tiny"}[name]
    assert f"Did you mean {nearest}?" in message
    assert "fun-5b-inp" in message


@pytest.mark.parametrize("name", ["5b", "nobody/no-model"])
def test_a_model_that_is_not_on_this_machine_says_how_to_fetch_it(name, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    message = refusal(asked(name, offline=True), FileError)
    assert "hf download" in message
    assert ("zai-org/CogVideoX-5b" if name == "5b" else name) in message


@pytest.mark.parametrize("part", ["transformer", "vae", "text_encoder", "tokenizer", "scheduler"])
def test_a_missing_part_is_named(folder, part):
    shutil.rmtree(folder / part)
    assert part in refusal(asked(folder), FileError)


@pytest.mark.parametrize("part", ["transformer", "vae", "text_encoder"])
def test_missing_weights_are_named_by_their_folder(folder, part):
    for file in (folder / part).glob("*.safetensors"):
        file.unlink()
    assert str(folder / part) in refusal(asked(folder))


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("transformer/config.json", "{"),
        ("vae/config.json", "[]"),
        ("scheduler/scheduler_config.json", "<html>"),
        ("transformer/config.json", '{"num_layers": "many"}'),
        ("text_encoder/config.json", '{"model_type": "clip"}'),
    ],
)
def test_damaged_settings_are_named(folder, file, content):
    (folder / file).write_text(content)
    assert str(folder / file) in refusal(asked(folder))


@pytest.mark.parametrize(
    ("file", "settings"),
    [
        ("transformer/config.json", {"activation_fn": "geglu"}),
        ("vae/config.json", {"use_quant_conv": True}),
        ("scheduler/scheduler_config.json", {"prediction_type": "epsilon"}),
    ],
)
def test_settings_of_another_network_are_refused(folder, file, settings):
    change_settings(folder / file, **settings)
    message = refusal(asked(folder))
    ((key, value),) = settings.items()
    assert str(folder / file) in message
    assert key in message
    assert repr(value) in message


def test_settings_that_do_not_fit_the_weights_are_refused(folder):
    change_settings(folder / "transformer" / "config.json", num_layers=2)
    assert "blocks.1" in refusal(asked(folder))


def test_a_text_encoder_of_another_width_is_refused(released, tmp_path):
    other = write_small(tmp_path / "other", transformer=replace(SMALL, text_embed_dim=32))
    message = refusal(asked(released, text_encoder=other / "text_encoder", tokenizer=other / "tokenizer"))
    assert "gives 32 features per token" in message
    assert "reads 16" in message
    assert "--text-encoder" in message


def test_an_autoencoder_with_other_latents_is_refused(released, tmp_path):
    other = write_small(tmp_path / "other", autoencoder=replace(SMALL_AUTOENCODER, latent_channels=4))
    message = refusal(asked(released, vae=other / "vae"))
    assert "makes 4 latent channels" in message
    assert "--vae" in message


def test_a_file_of_another_part_is_refused_where_a_transformer_belongs(released):
    wrong = next((released / "text_encoder").glob("*.safetensors"))
    assert "is not a CogVideoX transformer" in refusal(asked(released, dit=wrong))


def test_an_unknown_number_of_channels_is_refused(tmp_path):
    folder = write_small(tmp_path, transformer=replace(SMALL, in_channels=20))
    message = refusal(asked(folder))
    assert "20 channels" in message
    assert "33 (inpainting)" in message


@pytest.mark.parametrize(
    ("changes", "inputs", "expected"),
    [
        ({}, {}, Layout.TEXT),
        ({"in_channels": 33}, {}, Layout.INPAINT),
        ({"in_channels": 32}, {}, Layout.CONTROL),
        ({"in_channels": 32}, {"image": Path("a.png")}, Layout.IMAGE),
        ({"in_channels": 32}, {"control_video": Path("a.mp4")}, Layout.CONTROL),
        ({"in_channels": 32, "patch_size_t": 2, "ofs_embed_dim": 16}, {}, Layout.IMAGE),
        ({"in_channels": 32, "use_learned_positional_embeddings": True}, {}, Layout.IMAGE),
    ],
)
def test_the_channels_and_the_inputs_tell_what_a_model_reads(tmp_path, changes, inputs, expected):
    size = {"sample_height": 4, "sample_width": 4, "sample_frames": 5}
    folder = write_small(tmp_path, transformer=replace(SMALL, **size, **changes))
    assert locate(asked(folder, **inputs)).layout is expected


def test_fingerprints_are_those_of_the_content_wherever_it_lies(released, folder):
    before = locate(asked(released)).fingerprints
    assert locate(asked(folder)).fingerprints == before
    write_small(folder, seed=1)
    after = locate(asked(folder)).fingerprints
    assert {part for part in before if before[part] != after[part]} == {"transformer", "vae", "text_encoder"}


def test_the_epsilon_of_the_original_code_is_had_on_request(released):
    config = asked(released, compatibility=Compatibility(norm_eps="sat"))
    assert locate(config).transformer.norm_eps == 1e-6


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float8_e4m3fn])
def test_a_single_file_gives_its_settings_and_its_weights_in_any_format(released, tmp_path, dtype):
    state = transformer_state(released)
    # Files in eight bits keep small and delicate tensors in sixteen.
    stored = {
        name: tensor.to(torch.bfloat16 if dtype.itemsize == 1 and tensor.ndim == 1 else dtype)
        for name, tensor in state.items()
    }
    path = tmp_path / "transformer.safetensors"
    save_safetensors(path, key_maps.DIFFUSERS_TRANSFORMER.to_file(stored))
    model = locate(asked(released, dit=path))
    assert model.transformer == SMALL
    assert_same(weights_of(model), {name: tensor.float() for name, tensor in stored.items()})
    made = latents_of(asked(released, dit=path))
    assert torch.isfinite(made).all()
    assert torch.equal(made, latents_of(asked(released))) == (dtype == torch.float32)


def test_a_single_file_with_a_learned_table_keeps_it(tmp_path):
    image_model = replace(SMALL, in_channels=32, use_learned_positional_embeddings=True)
    folder = write_small(tmp_path / "model", transformer=image_model)
    (file,) = (folder / "transformer").glob("*.safetensors")
    alone = shutil.copy(file, tmp_path / "alone.safetensors")
    model = locate(asked(folder, dit=Path(alone)))
    assert model.transformer == image_model
    assert model.layout is Layout.IMAGE
    assert weights_of(model)["patch_embedding.positions"].shape == (1, 226 + 13 * 30 * 45, 64)


def sat_transformer(folder: Path, state: dict[str, Tensor]) -> Path:
    """A checkpoint folder of the original training code."""
    named = key_maps.SAT_TRANSFORMER.to_file(state)
    (folder / "1000").mkdir(parents=True)
    (folder / "latest").write_text("1000")
    content = {"module": {f"model.diffusion_model.{name}": tensor for name, tensor in named.items()}}
    torch.save(content, folder / "1000" / "mp_rank_00_model_states.pt")
    return folder


def test_original_files_make_the_clip_that_the_folder_makes(released, tmp_path):
    transformer = sat_transformer(tmp_path / "transformer", transformer_state(released))
    autoencoder = tmp_path / "vae"
    autoencoder.mkdir()
    shutil.copy(released / "vae" / "config.json", autoencoder)
    state = load_autoencoder(locate(asked(released)), CPU, torch.float32).state_dict()
    named = {**key_maps.SAT_AUTOENCODER.to_file(state), "loss.logvar": torch.zeros(())}
    torch.save({"state_dict": named}, autoencoder / "pytorch_model.bin")

    original = asked(released, dit=transformer, vae=autoencoder)
    model = locate(original)
    assert model.transformer == SMALL
    assert_same(load_autoencoder(model, CPU, torch.float32).state_dict(), state)
    assert torch.equal(latents_of(original), latents_of(asked(released)))
    direct = asked(released, dit=transformer / "1000" / "mp_rank_00_model_states.pt")
    assert_same(weights_of(locate(direct)), weights_of(model))


def test_parts_that_are_given_alone_need_not_be_in_the_folder(released, folder):
    shutil.rmtree(folder / "transformer")
    shutil.rmtree(folder / "vae")
    config = asked(folder, dit=released / "transformer", vae=released / "vae")
    assert_same(weights_of(locate(config)), transformer_state(released))


@pytest.mark.parametrize("layout", key_maps.AUTOENCODER_LAYOUTS, ids=lambda layout: layout.name)
def test_a_single_file_of_the_autoencoder_is_the_released_one(released, tmp_path, layout):
    with torch.device("meta"):
        state = CogVideoXAutoencoder(AutoencoderConfig()).state_dict()
    shapes = {layout.locate(name).file_name: tuple(tensor.shape) for name, tensor in state.items()}
    model = locate(asked(released, vae=sparse_safetensors(tmp_path / "vae.safetensors", shapes)))
    assert model.autoencoder == AutoencoderConfig(scaling_factor=0.7)


def test_a_pickle_that_runs_code_is_never_opened(released, tmp_path):
    marker = tmp_path / "ran"

    class Evil:
        def __reduce__(self):
            return (Path.touch, (marker,))

    path = tmp_path / "model.pt"
    torch.save({"module": Evil()}, path)
    with pytest.raises(FileError, match=r"model\.pt"):
        locate(asked(released, dit=path))
    assert not marker.exists()
