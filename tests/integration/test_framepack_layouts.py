"""FramePack's parts as people have them on disk: each arrangement makes the same latents."""

import itertools
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from reelwright.families.framepack.checkpoints import locate
from reelwright.families.framepack.config import FramePackGenerate
from reelwright.families.framepack.estimates import ESTIMATING
from reelwright.families.framepack.tiny import TINY_TRANSFORMER, write_model

RELEASED_HEADS = replace(
    TINY_TRANSFORMER,
    num_attention_heads=1,
    attention_head_dim=128,
    rope_axes_dim=(16, 56, 56),
    num_layers=1,
    num_single_layers=1,
    text_embed_dim=512,
    pooled_projection_dim=128,
    image_proj_dim=144,
)
"""Heads as wide as released ones in all networks: single files do not tell how wide they are."""
SMALL = (
    *("--prompt", "a red ball", "--seed", "3", "--steps", "1", "--height", "64", "--width", "64"),
    *("--latent-window-size", "2", "--video-sections", "1", "--no-preview-sections"),
    *("--preview-every", "0", "--format", "latent", "--offline"),
)
BASE, F1 = "lllyasviel/FramePackI2V_HY", "lllyasviel/FramePack_F1_I2V_HY_20250503"
HUNYUAN, REDUX = "hunyuanvideo-community/HunyuanVideo", "lllyasviel/flux_redux_bfl"
HUNYUAN_FOLDERS = ("vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2")
Words = tuple[object, ...]


def write_whole(folder: Path, dtype: torch.dtype) -> Path:
    write_model(folder, transformer=RELEASED_HEADS, dtype=dtype)
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A model in the diffusers layout; nobody writes into it."""
    return write_whole(tmp_path_factory.mktemp("whole"), torch.float16)


@pytest.fixture(scope="module")
def whole_bf16(tmp_path_factory) -> Path:
    return write_whole(tmp_path_factory.mktemp("whole-bf16"), torch.bfloat16)


@pytest.fixture(scope="module")
def made_before() -> dict[Path, torch.Tensor]:
    """The latents of whole models."""
    return {}


@pytest.fixture
def fresh(reelwright, tmp_path) -> Callable[..., Any]:
    """Run `reelwright generate framepack` for a small video, into a folder of its own each time."""
    count = itertools.count()

    def run(*words: object) -> Any:
        return reelwright("generate", "framepack", *SMALL, "--run", tmp_path / f"run-{next(count)}", *words)

    return run


@pytest.fixture
def make(fresh, tmp_path) -> Callable[..., torch.Tensor]:
    """The latents of a small video."""

    def run(*words: object) -> torch.Tensor:
        outcome = fresh(*words)
        assert outcome.code == 0, outcome.err
        (file,) = max(tmp_path.glob("run-*"), key=_number).glob("clip-*.latent.safetensors")
        return load_file(file)["latent"]

    return run


def _number(run: Path) -> int:
    return int(run.name.removeprefix("run-"))


@pytest.fixture
def assert_same(make, made_before) -> Callable[..., None]:
    """Expect the latents of a whole model of the words that name its parts one by one."""

    def check(model: Path, *words: object) -> None:
        if model not in made_before:
            made_before[model] = make("--model", model)
        assert torch.equal(make(*words), made_before[model])

    return check


def state_of(folder: Path) -> dict[str, torch.Tensor]:
    (file,) = folder.glob("*.safetensors")
    return load_file(file)


def in_shards(part: Path, to: Path, count: int, stem: str) -> Path:
    """A part with its weights in several files and an index; returns the first file."""
    shutil.copytree(part, to)
    (whole,) = to.glob("*.safetensors")
    state = load_file(whole)
    whole.unlink()
    names = [f"{stem}-{number:05}-of-{count:05}.safetensors" for number in range(1, count + 1)]
    placed = {name: names[number * count // len(state)] for number, name in enumerate(state)}
    for file in names:
        save_file({name: state[name] for name in state if placed[name] == file}, to / file)
    index = {"metadata": {"total_size": 0}, "weight_map": placed}
    (to / f"{stem}.safetensors.index.json").write_text(json.dumps(index))
    return to / names[0]


def in_cache(root: Path, repository: str, files: dict[str, Path]) -> Path:
    """Files as the hub's own program keeps them: blobs, and links to them in a snapshot. Returns that."""
    place = root / f"models--{repository.replace('/', '--')}"
    snapshot = place / "snapshots" / f"{0xF1:040x}"
    (place / "blobs").mkdir(parents=True)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(snapshot.name)
    for number, (name, file) in enumerate(files.items()):
        blob = place / "blobs" / f"{number:064x}"
        shutil.copy(file, blob)
        (snapshot / name).parent.mkdir(parents=True, exist_ok=True)
        (snapshot / name).symlink_to(Path("../" * (2 + name.count("/"))) / "blobs" / blob.name)
    return snapshot


def files_in(folder: Path, *names: str) -> dict[str, Path]:
    """By the name in the folder; those of some folders in it, or all."""
    found = [path for part in names or (".",) for path in (folder / part).rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path for path in found}


def download_all(root: Path, whole: Path, transformer: str = BASE) -> dict[str, Path]:
    """The snapshots of the three repositories of a released model."""
    return {
        transformer: in_cache(root, transformer, files_in(whole / "transformer")),
        HUNYUAN: in_cache(root, HUNYUAN, files_in(whole, *HUNYUAN_FOLDERS)),
        REDUX: in_cache(root, REDUX, files_in(whole, "image_encoder")),
    }


def encoders_of(folder: Path) -> Words:
    """Every part but the transformer, of a folder."""
    parts = ("--vae", "--text-encoder", "--text-encoder-2", "--image-encoder")
    return tuple(word for flag in parts for word in (flag, folder))


@pytest.mark.parametrize("named", ["first shard", "folder"])
def test_three_shards(assert_same, whole, tmp_path, named):
    first = in_shards(whole / "transformer", tmp_path / "FramePackI2V_HY", 3, "diffusion_pytorch_model")
    assert first.name == "diffusion_pytorch_model-00001-of-00003.safetensors"
    dit = first if named == "first shard" else first.parent
    assert_same(whole, "--model", "base", "--dit", dit, *encoders_of(whole))


@pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
def test_a_single_file_in_a_folder_with_settings_of_something_else(assert_same, whole_bf16, tmp_path, prefix):
    state = {prefix + name: tensor for name, tensor in state_of(whole_bf16 / "transformer").items()}
    assert {tensor.dtype for tensor in state.values()} == {torch.bfloat16}
    save_file(state, tmp_path / "FramePackI2V_HY_bf16.safetensors")
    (tmp_path / "config.json").write_text('{"_class_name": "FluxTransformer2DModel", "num_layers": 19}')
    save_file({"a": torch.zeros(1)}, tmp_path / "another.safetensors")
    dit = tmp_path / "FramePackI2V_HY_bf16.safetensors"
    assert_same(whole_bf16, "--model", "base", "--dit", dit, *encoders_of(whole_bf16))


def test_snapshots_of_the_demo(assert_same, whole, tmp_path):
    """FramePack/hf_download/hub: the roots of snapshots stand for the parts in them."""
    snapshots = download_all(tmp_path / "hf_download" / "hub", whole)
    assert (snapshots[BASE] / "diffusion_pytorch_model.safetensors").is_symlink()
    parts = (*encoders_of(snapshots[HUNYUAN])[:-2], "--image-encoder", snapshots[REDUX])
    assert_same(whole, "--model", "base", "--dit", snapshots[BASE], *parts)
    assert_same(whole, "--model", snapshots[BASE], *parts)


def test_folders_of_parts_and_the_first_shard_of_a_text_encoder(assert_same, whole, tmp_path):
    community = tmp_path / "HunyuanVideo"
    first = in_shards(whole / "text_encoder", community / "text_encoder", 4, "model")
    assert first.name == "model-00001-of-00004.safetensors"
    shutil.copytree(whole / "tokenizer", community / "tokenizer")
    for part in ("transformer", "vae", "image_encoder"):
        shutil.copytree(whole / part, tmp_path / "mine" / part)
    shutil.copytree(whole / "text_encoder_2", tmp_path / "clip")
    shutil.copytree(whole / "tokenizer_2", tmp_path / "tokenizer_2")
    parts = ("--dit", "mine/transformer", "--vae", "mine/vae", "--image-encoder", "mine/image_encoder")
    assert_same(whole, "--model", "base", *parts, "--text-encoder", first, "--text-encoder-2", "clip")


@pytest.fixture
def single(whole, tmp_path) -> Words:
    """The files of the encoders that ComfyUI reads, without tokenizers."""
    folder = tmp_path / "ComfyUI" / "models"
    folder.mkdir(parents=True)
    state = {f"model.{name}": tensor for name, tensor in state_of(whole / "text_encoder").items()}
    state |= {"lm_head.weight": torch.zeros(4, 512), "tokenizer": torch.zeros(9, dtype=torch.uint8)}
    save_file(state, folder / "llava_llama3_fp16.safetensors")
    state = state_of(whole / "text_encoder_2")
    assert all(name.startswith("text_model.") for name in state)
    save_file(state | {"text_projection.weight": torch.zeros(4, 4)}, folder / "clip_l.safetensors")
    state = state_of(whole / "image_encoder")
    assert all(name.startswith("vision_model.") for name in state)
    save_file(state, folder / "sigclip_vision_patch14_384.safetensors")
    (folder / "config.json").write_text('{"model_type": "t5"}')
    return (
        *("--text-encoder", folder / "llava_llama3_fp16.safetensors"),
        *("--text-encoder-2", folder / "clip_l.safetensors"),
        *("--image-encoder", folder / "sigclip_vision_patch14_384.safetensors"),
    )


def test_single_files_of_encoders_with_tokenizers_by_name_or_of_the_model(
    assert_same, whole, single, tmp_path
):
    assert_same(whole, "--model", whole, *single)
    tokenizers = ("--tokenizer", whole / "tokenizer" / "tokenizer.json", "--tokenizer-2", whole)
    parts = ("--model", "base", "--dit", whole, "--vae", whole / "vae")
    assert_same(whole, *parts, *single, *tokenizers)
    for name in ("tokenizer", "tokenizer_2"):
        shutil.copytree(whole / name, tmp_path / "ComfyUI" / name)
    assert_same(whole, *parts, *single)


@pytest.mark.parametrize("named", ["file", "folder"])
@pytest.mark.parametrize("written", ["safetensors", "pt", "bare pt"])
def test_files_of_the_autoencoder(assert_same, whole, tmp_path, written, named):
    folder = Path(shutil.copytree(whole / "vae", tmp_path / "vae"))
    (file,) = folder.glob("*.safetensors")
    if written != "safetensors":
        state = load_file(file)
        file.unlink()
        file = folder / "pytorch_model.pt"
        content = {f"vae.{name}": tensor for name, tensor in state.items()} | {"loss.weight": torch.zeros(2)}
        torch.save(state if written == "bare pt" else {"state_dict": content}, file)
    assert_same(whole, "--model", whole, "--vae", file if named == "file" else folder)


@pytest.fixture
def merged(fresh, whole, tmp_path) -> Callable[..., dict[str, Path]]:
    """Merge a LoRA into a model that says nothing of its direction, as a file and as a folder."""
    silent = Path(shutil.copytree(whole, tmp_path / "model"))
    (silent / "reelwright.json").unlink()
    module = "lora_unet_single_transformer_blocks_0_attn_to_q"
    halves = {"down": torch.ones(2, 128), "up": torch.ones(128, 2)}
    save_file(
        {f"{module}.lora_{half}.weight": halves[half] for half in halves}, tmp_path / "lora.safetensors"
    )

    def merge(*words: object) -> dict[str, Path]:
        made = {kind: tmp_path / name for kind, name in (("file", "out.safetensors"), ("folder", "out"))}
        for path in made.values():
            lora = ("--lora", tmp_path / "lora.safetensors")
            outcome = fresh("--model", silent, *lora, "--save-merged-model", path, *words)
            assert outcome.code == 0, outcome.err
        return made

    return merge


def test_a_merged_model_knows_its_direction_as_a_file_and_as_a_folder(make, fresh, merged, whole):
    made = merged("--direction", "forward")
    with safe_open(made["file"], "pt") as file:
        assert file.metadata()["direction"] == "forward"
    assert json.loads((made["folder"] / "config.json").read_text())["direction"] == "forward"
    results = [make("--model", whole, "--dit", path) for path in made.values()]
    results += [make("--model", whole, "--dit", path, "--direction", "forward") for path in made.values()]
    assert all(torch.equal(each, results[0]) for each in results)
    for path in made.values():
        refusal = fresh("--model", whole, "--dit", path, "--direction", "backward")
        assert refusal.code == 2
        assert "Use --direction forward (--f1)" in refusal.err


def test_a_guess_is_not_written_into_a_merged_model_as_if_it_were_known(fresh, merged, whole):
    made = merged()
    with safe_open(made["file"], "pt") as file:
        assert "direction" not in file.metadata()
    assert "direction" not in json.loads((made["folder"] / "config.json").read_text())
    for path in made.values():
        assert "nothing tells whether" in fresh("--model", whole, "--dit", path).notices


@pytest.mark.parametrize(("more", "resolution"), [({}, 128), ({"vae": "another"}, 640)])
def test_weights_that_tell_no_size_have_that_of_the_model_whose_autoencoder_they_go_with(
    whole, tmp_path, more, resolution
):
    model = Path(shutil.copytree(whole, tmp_path / "model"))
    (model / "reelwright.json").write_text(json.dumps({"direction": "forward", "resolution": "128"}))
    weights = shutil.copytree(whole / "transformer", tmp_path / "mine")
    parts = {name: Path(shutil.copytree(whole / name, tmp_path / value)) for name, value in more.items()}
    config = FramePackGenerate(model=str(model), dit=Path(weights), direction="forward", **parts)
    assert locate(config).resolution == resolution
    assert ESTIMATING.sized(config).resolution == resolution


# Without network, by name.


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """An empty cache of downloads."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize(
    ("model", "repository", "direction"), [("base", BASE, "backward"), ("f1", F1, "forward")]
)
def test_released_models_are_found_in_the_cache_of_downloads(
    assert_same, whole, cache, tmp_path, model, repository, direction
):
    download_all(cache, whole, repository)
    if model == "f1":
        whole = Path(shutil.copytree(whole, tmp_path / "whole"))
        (whole / "reelwright.json").write_text(json.dumps({"direction": direction}))
    assert_same(whole, "--model", model)
    assert_same(whole, "--model", repository)
    assert_same(whole, "--model", repository, "--direction", direction)


def test_the_environment_says_where_the_cache_is_and_that_there_is_no_network(in_process, whole, tmp_path):
    download_all(tmp_path / "downloads" / "hub", whole)
    words = ("generate", "framepack", *SMALL[:-1], "--model", "base", "--run", tmp_path / "run")
    outcome = in_process(*words, HF_HOME=str(tmp_path / "downloads"), HF_HUB_OFFLINE="1")
    assert outcome.code == 0, outcome.err
    assert len(list((tmp_path / "run").glob("clip-*.latent.safetensors"))) == 1


@pytest.mark.parametrize("missing", [BASE, HUNYUAN, REDUX])
def test_a_repository_that_is_not_there_is_named_with_what_to_do(refused, fresh, whole, cache, missing):
    shutil.rmtree(download_all(cache, whole)[missing].parents[1])
    message = refused("--model", "base", code=1, command=fresh)
    assert f"{missing}: it is not in the cache of downloads" in message
    assert f"`hf download {missing} --include" in message
    if missing == HUNYUAN:
        assert '--include "vae/*" --include "text_encoder/*"' in message
        assert "named with --vae, --text-encoder, --text-encoder-2, --tokenizer, --tokenizer-2." in message
    if missing == REDUX:
        assert "named with --image-encoder." in message


def test_a_download_that_was_interrupted_names_what_lacks(refused, fresh, whole, cache, tmp_path):
    shards = tmp_path / "shards"
    first = in_shards(whole / "text_encoder", shards / "text_encoder", 4, "model")
    first.with_name(first.name.replace("00001", "00003", 1)).unlink()
    snapshots = download_all(cache, whole)
    shutil.rmtree(snapshots[HUNYUAN].parents[1])
    rest = ("vae", "text_encoder_2", "tokenizer", "tokenizer_2")
    in_cache(cache, HUNYUAN, {**files_in(whole, *rest), **files_in(shards)})
    message = refused("--model", "base", code=1, command=fresh)
    assert f"{HUNYUAN}: no text_encoder/model-00003-of-00004.safetensors" in message
    # The parts that are whole are of use all the same.
    single = whole / "text_encoder" / "model.safetensors"
    outcome = fresh("--model", "base", "--text-encoder", single)
    assert outcome.code == 0, outcome.err
