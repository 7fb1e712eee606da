"""Finding the parts of FramePack checkpoints, telling F1 from FramePack; files of the released sizes."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from reelwright.checkpoint.safetensors_io import save_safetensors
from reelwright.core.errors import CheckpointError, ConfigError, FileError, UserError
from reelwright.families.framepack import parts as parts_module
from reelwright.families.framepack.checkpoints import FramePackModel, locate
from reelwright.families.framepack.config import AutoencoderConfig, FramePackGenerate, TransformerConfig
from reelwright.families.framepack.direction import Knowledge, choose_direction, find_direction
from reelwright.families.framepack.parts import Parts
from reelwright.families.framepack.tiny import write_model

from .released_files import (
    clip_large,
    framepack_transformer,
    hunyuan_autoencoder,
    llama3,
    siglip_so400m,
    sparse_safetensors,
)

BASE_FILE = "FramePackI2V_HY_bf16.safetensors"
F1_FOLDER = "FramePack_F1_I2V_HY_20250503"
SHARD = "diffusion_pytorch_model-00001-of-00003.safetensors"


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    """A whole model; nobody writes into it."""
    folder = tmp_path_factory.mktemp("small")
    write_model(folder)
    return folder


@pytest.fixture(scope="module")
def released(tmp_path_factory, small) -> Path:
    """Single files of the released parts, which hold no data, and tokenizers."""
    folder = tmp_path_factory.mktemp("released")
    for name, shapes in (
        (BASE_FILE, framepack_transformer()),
        ("hunyuan_video_vae.safetensors", hunyuan_autoencoder()),
        ("llava_llama3_fp16.safetensors", llama3() | {"lm_head.weight": (128320, 4096)}),
        ("clip_l.safetensors", clip_large() | {"logit_scale": ()}),
        ("sigclip_vision_patch14_384.safetensors", siglip_so400m()),
    ):
        sparse_safetensors(folder / name, shapes)
    for name in ("tokenizer", "tokenizer_2"):
        shutil.copytree(small / name, folder / name)
    # A folder of single files is a folder of many models, and this file is of another one.
    (folder / "config.json").write_text('{"model_type": "t5", "num_layers": 99, "direction": "forward"}')
    return folder


def asked(**options) -> FramePackGenerate:
    return FramePackGenerate(prompt="a red ball", offline=True, **options)


def asked_released(folder: Path, **options) -> FramePackGenerate:
    files = {
        "dit": folder / BASE_FILE,
        "vae": folder / "hunyuan_video_vae.safetensors",
        "text_encoder": folder / "llava_llama3_fp16.safetensors",
        "text_encoder_2": folder / "clip_l.safetensors",
        "image_encoder": folder / "sigclip_vision_patch14_384.safetensors",
        **dict.fromkeys(("tokenizer", "tokenizer_2"), folder),
    }
    return asked(**{**files, **options})


def refusal(config: FramePackGenerate, kind: type[UserError] = CheckpointError) -> str:
    with pytest.raises(kind) as caught:
        locate(config)
    return str(caught.value)


def assert_released_sizes(model: FramePackModel):
    assert model.transformer == TransformerConfig()
    assert model.autoencoder == AutoencoderConfig()
    assert (model.llama.width, model.clip.width, model.siglip.width) == (4096, 768, 1152)
    assert model.resolution == 640


def test_there_are_as_many_tensors_as_released_files_have():
    shapes = framepack_transformer()
    assert len(shapes) == 1274
    assert sum(torch.Size(shape).numel() for shape in shapes.values()) == pytest.approx(12.874e9, rel=1e-4)
    assert len(hunyuan_autoencoder()) == 248


def test_single_files_of_released_size_are_understood_by_their_tensors_alone(released):
    model = locate(asked_released(released))
    assert_released_sizes(model)
    assert (model.direction, model.notices) == ("backward", ())
    llama, clip, siglip = (each.encoder.config for each in (model.llama, model.clip, model.siglip))
    assert (llama.num_hidden_layers, llama.num_attention_heads, llama.num_key_value_heads) == (32, 32, 8)
    assert (llama.intermediate_size, llama.vocab_size, llama.rms_norm_eps) == (14336, 128320, 1e-5)
    assert llama.rope_parameters["rope_theta"] == 500_000.0
    assert (clip.num_hidden_layers, clip.num_attention_heads, clip.hidden_act) == (12, 12, "quick_gelu")
    assert (siglip.num_hidden_layers, siglip.num_attention_heads, siglip.image_size) == (27, 16, 384)
    assert (siglip.intermediate_size, siglip.layer_norm_eps) == (4304, 1e-6)


def shard_by_hand(folder: Path, shapes: dict[str, tuple[int, ...]]) -> Path:
    """Three files with an index; returns the first."""
    folder.mkdir(parents=True)
    names = [SHARD.replace("00001", f"{number:05}", 1) for number in (1, 2, 3)]
    placed = {name: names[3 * number // len(shapes)] for number, name in enumerate(shapes)}
    for file in names:
        sparse_safetensors(folder / file, {name: shapes[name] for name in shapes if placed[name] == file})
    index = {"metadata": {}, "weight_map": placed}
    (folder / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))
    return folder / SHARD


SETTINGS = {
    **{"_class_name": "HunyuanVideoTransformer3DModelPacked", "_diffusers_version": "0.33.0.dev0"},
    **{"attention_head_dim": 128, "guidance_embeds": True, "has_clean_x_embedder": True},
    **{"has_image_proj": True, "image_proj_dim": 1152, "in_channels": 16, "mlp_ratio": 4.0},
    **{"num_attention_heads": 24, "num_layers": 20, "num_refiner_layers": 2, "num_single_layers": 40},
    **{"out_channels": 16, "patch_size": 2, "patch_size_t": 1, "pooled_projection_dim": 768},
    **{"qk_norm": "rms_norm", "rope_axes_dim": [16, 56, 56], "rope_theta": 256.0, "text_embed_dim": 4096},
}
"""The config.json of both released transformers."""


@pytest.mark.parametrize("with_settings", [True, False])
def test_three_shards_are_one_model_by_the_first_and_by_the_folder(released, tmp_path, with_settings):
    first = shard_by_hand(tmp_path / F1_FOLDER, framepack_transformer())
    if with_settings:
        (first.parent / "config.json").write_text(json.dumps(SETTINGS))
    for dit in (first, first.parent):
        model = locate(asked_released(released, dit=dit))
        assert_released_sizes(model)
        assert model.direction == "forward"
    (first.parent / SHARD.replace("00001", "00002", 1)).unlink()
    message = refusal(asked_released(released, dit=first))
    assert "1 of 3 files of weights are missing" in message
    assert "diffusion_pytorch_model-00002-of-00003.safetensors" in message


@pytest.mark.parametrize(
    ("part", "prefix"),
    [("dit", "model.diffusion_model."), ("vae", "vae."), ("text_encoder", ""), ("text_encoder_2", "clip_l.")],
)
def test_what_programs_put_before_names_changes_nothing(released, tmp_path, part, prefix):
    shapes = {
        "dit": framepack_transformer(),
        "vae": hunyuan_autoencoder(),
        "text_encoder": llama3(""),
        "text_encoder_2": clip_large("transformer.text_model."),
    }[part]
    path = sparse_safetensors(tmp_path / BASE_FILE, {prefix + name: shape for name, shape in shapes.items()})
    assert_released_sizes(locate(asked_released(released, **{part: path})))


def test_the_original_file_of_the_autoencoder_is_read_for_the_autoencoder(released, tmp_path):
    with torch.device("meta"):
        state = {f"vae.{name}": torch.empty(shape) for name, shape in hunyuan_autoencoder().items()}
    # No data on disk here either: every tensor is one number, repeated.
    state = {name: torch.zeros(1, dtype=torch.float16).expand(tensor.shape) for name, tensor in state.items()}
    state["loss.discriminator.weight"] = torch.zeros(3)
    torch.save({"state_dict": state}, tmp_path / "pytorch_model.pt")
    for path in (tmp_path / "pytorch_model.pt", tmp_path):
        assert locate(asked_released(released, vae=path)).autoencoder == AutoencoderConfig()


def test_parts_of_the_embedded_model_never_stand_in_for_those_of_another(released):
    """The embedded autoencoder and tokenizers would fit, and show garbage."""
    message = refusal(asked_released(released, vae=None), ConfigError)
    assert f"{BASE_FILE} is not the transformer of tiny" in message
    assert "Say --model base or --model f1" in message
    assert message.endswith("or give --vae.")
    message = refusal(asked(dit=released / BASE_FILE), ConfigError)
    assert "--vae, --text-encoder, --text-encoder-2, --tokenizer, --tokenizer-2, --image-encoder." in message


def test_the_embedded_model_goes_on_with_a_transformer_of_its_size(small, small_tiny):
    model = locate(asked(dit=small / "transformer"))
    assert model.direction == "backward"
    assert model.resolution == 128


# What is looked for on the hub.


@pytest.fixture
def wanted(monkeypatch) -> list[tuple[str, ...]]:
    """What is asked of the hub, which has nothing."""
    calls: list[tuple[str, ...]] = []

    def find_model(reference, *, patterns, **options):
        calls.append((str(reference), *patterns))
        raise FileError(f"{reference} is not here.")

    monkeypatch.setattr(parts_module, "find_model", find_model)
    return calls


def test_only_parts_that_nothing_stands_for_are_fetched(small, wanted):
    given = {"dit": small / "transformer", "image_encoder": small, "model": "base"}
    message = refusal(asked(**given, vae=small), FileError)
    assert wanted == [
        (
            "hunyuanvideo-community/HunyuanVideo",
            "text_encoder/*",
            "text_encoder_2/*",
            "tokenizer/*",
            "tokenizer_2/*",
        )
    ]
    assert "named with --text-encoder, --text-encoder-2, --tokenizer, --tokenizer-2." in message
    wanted.clear()
    alone = {name: small / name / "model.safetensors" for name in ("text_encoder", "text_encoder_2")}
    assert locate(asked(**given, vae=small, **alone)).llama.tokenizer_path == small / "tokenizer"
    assert wanted == []


def test_encoders_without_tokenizers_need_the_tokenizers_alone(small, tmp_path, wanted):
    (tmp_path / "deep" / "down").mkdir(parents=True)
    files = {
        name: tmp_path / "deep" / "down" / f"{name}.safetensors"
        for name in ("text_encoder", "text_encoder_2")
    }
    for name, path in files.items():
        shutil.copy(small / name / "model.safetensors", path)
    given = {"dit": small / "transformer", "vae": small, "image_encoder": small, "model": "f1", **files}
    refusal(asked(**given), FileError)
    assert wanted == [("hunyuanvideo-community/HunyuanVideo", "tokenizer/*", "tokenizer_2/*")]


def test_saved_latents_need_the_autoencoder_alone(small, tmp_path, wanted):
    refusal(asked(model="base", from_latent=(tmp_path / "a.safetensors",), dit=small), FileError)
    assert wanted == [("hunyuanvideo-community/HunyuanVideo", "vae/*")]


def test_an_image_encoder_is_looked_for_in_its_own_repository(small, wanted):
    rest = dict.fromkeys(("dit", "vae", "text_encoder", "text_encoder_2"), small)
    refusal(asked(model="base", **rest), FileError)
    assert wanted == [("lllyasviel/flux_redux_bfl", "image_encoder/*")]


# FramePack or F1.


def weights(path: Path, metadata: dict[str, str] | None = None) -> Path:
    """A file of weights; which ones does not matter here."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_safetensors(path, {"a": torch.zeros(1)}, metadata)
    return path


def known(**options) -> Knowledge:
    config = asked(**options)
    return find_direction(config, Parts(config))


@pytest.mark.parametrize(
    ("place", "trained"),
    [
        (BASE_FILE, "backward"),
        ("framepack_i2v_hy_fp8.safetensors", "backward"),
        ("FramePack_F1_I2V_HY_20250503_fp8_e4m3fn.safetensors", "forward"),
        ("framepack-f1.safetensors", "forward"),
        ("FramePackI2V_HY_F1_merged.safetensors", "forward"),
        (f"{F1_FOLDER}/{SHARD}", "forward"),
        (f"FramePackI2V_HY/{SHARD}", "backward"),
        (f"{F1_FOLDER}/diffusion_pytorch_model.safetensors", "forward"),
        (f"{F1_FOLDER}/transformer/diffusion_pytorch_model.safetensors", "forward"),
        (f"models--lllyasviel--{F1_FOLDER}/snapshots/0123abcd/{SHARD}", "forward"),
        (f"models--lllyasviel--FramePackI2V_HY/snapshots/0123f1ab/{SHARD}", "backward"),
        # The nearest name counts.
        (f"f1/models--lllyasviel--FramePackI2V_HY/snapshots/0123abcd/{SHARD}", "backward"),
        (f"{F1_FOLDER}/{BASE_FILE}", "backward"),
        # Folders that hold other things too say nothing.
        (f"f1/{BASE_FILE}", "backward"),
        ("f1/dit.safetensors", "unknown"),
        (f"{F1_FOLDER}/dit.safetensors", "unknown"),
        (f"f1/models/{SHARD}", "unknown"),
        (f"f1/my-model/transformer/{SHARD}", "unknown"),
        # Letters inside other words say nothing.
        ("leaf16_of1.safetensors", "unknown"),
        ("framepack_bf16.safetensors", "unknown"),
    ],
)
def test_names_of_the_checkpoint_itself_tell_f1(tmp_path, monkeypatch, place, trained):
    path = weights(tmp_path / place)
    if path.name == SHARD:
        for number in ("00002", "00003"):
            save_safetensors(path.with_name(SHARD.replace("00001", number, 1)), {number: torch.zeros(1)})
    assert known(dit=path).trained == trained
    # However the path is written.
    monkeypatch.chdir(path.parent)
    assert known(dit=Path(path.name)).trained == trained
    if path.stem.startswith("diffusion_pytorch_model"):
        assert known(dit=path.parent).trained == trained
        assert known(model=str(path.parent)).trained == trained
        assert known(dit=Path("./")).trained == trained


@pytest.mark.parametrize(
    ("metadata", "trained"),
    [
        ({"direction": "forward"}, "forward"),
        ({"direction": "backward"}, "backward"),
        ({"direction": "both"}, "both"),
        ({"direction": "up", "modelspec.title": "FramePack F1"}, "forward"),
        ({"modelspec.title": "FramePackI2V_HY"}, "backward"),
        ({"title": "my f1 model"}, "forward"),
        ({"modelspec.title": "my model"}, "backward"),
    ],
)
def test_what_a_file_says_of_itself_goes_over_its_name(tmp_path, metadata, trained):
    assert known(dit=weights(tmp_path / BASE_FILE, metadata)).trained == trained


def test_what_stands_beside_a_model_goes_over_its_name(tmp_path):
    folder = tmp_path / F1_FOLDER
    path = weights(folder / "transformer" / "diffusion_pytorch_model.safetensors")
    (path.parent / "config.json").write_text('{"direction": "backward"}')
    assert known(dit=path) == known(model=str(folder)) == Knowledge("backward", "its config.json")
    (folder / "reelwright.json").write_text('{"direction": "both"}')
    assert known(dit=path) == known(dit=folder) == Knowledge("both", "reelwright.json")


def test_the_name_of_the_model_tells_where_the_transformer_does_not(tmp_path):
    dit = weights(tmp_path / "dit.safetensors")
    assert known(dit=dit, model="f1") == Knowledge("forward", "--model f1")
    assert known(dit=dit, model="base").trained == "backward"
    assert known(dit=dit).trained == "unknown"
    assert known(dit=weights(tmp_path / BASE_FILE), model="f1").trained == "backward"


def chosen(**options):
    config = asked(**options)
    return choose_direction(config, Parts(config))


@pytest.mark.parametrize(("direction", "trained"), [("backward", "unknown"), ("forward", "forward")])
def test_a_guess_is_told_and_a_flag_settles_it(tmp_path, direction, trained):
    dit = weights(tmp_path / "dit.safetensors")
    asked_for = {} if direction == "backward" else {"direction": direction}
    made, known_for, notices = chosen(dit=dit, **asked_for)
    assert (made, known_for) == (direction, trained)
    assert bool(notices) == (direction == "backward")
    assert all("For F1 give --direction forward." in notice for notice in notices)


def test_weights_that_claim_both_are_used_as_asked(tmp_path):
    dit = weights(tmp_path / "dit.safetensors", {"direction": "both"})
    assert chosen(dit=dit) == ("backward", "both", ())
    assert chosen(dit=dit, direction="forward") == ("forward", "both", ())


@pytest.mark.parametrize(
    ("name", "direction", "what", "fix"),
    [
        (BASE_FILE, "forward", "is FramePack, not F1 by the name", "--direction backward (no --f1)"),
        ("framepack_f1.safetensors", "backward", "is F1 by the name", "--direction forward (--f1)"),
    ],
)
def test_a_direction_that_the_checkpoint_is_not_for_is_refused(tmp_path, name, direction, what, fix):
    with pytest.raises(ConfigError) as caught:
        chosen(dit=weights(tmp_path / name), direction=direction)
    message = str(caught.value)
    assert f"{tmp_path / name} {what} {name}, which makes sections" in message
    assert f"Use {fix}, or the other model with --model or --dit." in message
