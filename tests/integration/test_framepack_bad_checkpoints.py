"""Parts of another kind or model, damaged ones and lacking ones are told apart before anything is loaded."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from reelwright.families.framepack.tiny import TINY_TRANSFORMER, write_model

FLAGS = {
    "transformer": "--dit",
    "vae": "--vae",
    "text_encoder": "--text-encoder",
    "text_encoder_2": "--text-encoder-2",
    "image_encoder": "--image-encoder",
}
TITLES = {
    "transformer": "FramePack transformer",
    "text_encoder": "LLaMA text encoder",
    "text_encoder_2": "CLIP text encoder",
    "image_encoder": "SigLIP image encoder",
}
WEIGHTS = [
    f"{part}/{'model' if 'encoder' in part else 'diffusion_pytorch_model'}.safetensors" for part in FLAGS
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A model that nobody writes into."""
    folder = tmp_path_factory.mktemp("whole")
    write_model(folder)
    return folder


@pytest.fixture
def model(whole, tmp_path) -> Path:
    """A model folder to damage."""
    return Path(shutil.copytree(whole, tmp_path / "model"))


@pytest.fixture
def said(refused, packed) -> Callable[..., str]:
    """What is said of a model that cannot be used, by default the damaged one."""

    def run(*words: object, code: int = 1) -> str:
        return refused("--model", "./model", "--offline", "--run", "run", *words, code=code, command=packed)

    return run


def alone(part: Path, to: Path) -> Path:
    """The weights of a part as a single file, away from its settings."""
    (file,) = part.glob("*.safetensors")
    return Path(shutil.copy(file, to))


OTHERS = [(asked, given) for asked in FLAGS for given in FLAGS if asked != given]


@pytest.mark.parametrize(("asked", "given"), OTHERS)
def test_a_part_in_the_place_of_another_is_told(model, said, tmp_path, asked, given):
    file = alone(model / given, tmp_path / "single.safetensors")
    message = said(FLAGS[asked], file)
    assert f"{file}: " in message
    if asked in TITLES:
        assert f"is not a {TITLES[asked]}; its first tensors are" in message
        assert "Give " in message
    else:
        assert "0 of 248 tensors match" in message
        assert "another part or another model altogether. Give the file of the part" in message
    message = said(FLAGS[asked], model / given)
    assert str(model / given) in message
    assert "Give " in message or "Use a checkpoint" in message


@pytest.mark.parametrize("asked", FLAGS)
@pytest.mark.parametrize("given", ["transformer", "vae", "text_encoder"])
def test_parts_of_another_family_are_told(model, said, model_of, tmp_path, asked, given):
    other = model_of("text")
    file = alone(other / given, tmp_path / "single.safetensors")
    for path in (file, other / given):
        message = said(FLAGS[asked], path)
        assert str(path) in message
        assert "Give " in message or "Use a checkpoint" in message or "Choose " in message


def test_the_settings_of_another_network_name_it(said, model, model_of):
    other = model_of("text")
    assert "(of CogVideoXTransformer3DModel)" in said("--model", other)
    message = said("--text-encoder", other)
    assert f"{other}/text_encoder/config.json: is of t5; a LLaMA text encoder is needed." in message
    assert "such as llava_llama3_fp16.safetensors" in message
    assert "is of siglip_vision_model; a CLIP" in said("--text-encoder-2", model / "image_encoder")
    assert "is of clip_text_model; a LLaMA" in said("--text-encoder", model / "text_encoder_2")
    assert "is of clip_text_model; a SigLIP" in said("--image-encoder", model / "text_encoder_2")


@pytest.mark.parametrize(
    ("part", "sizes", "message"),
    [
        ("text_encoder", {"text_embed_dim": 128}, "gives 128 features; model/transformer reads 64."),
        ("text_encoder_2", {"pooled_projection_dim": 64}, "gives 64 features; model/transformer reads 32."),
        ("image_encoder", {"image_proj_dim": 64}, "gives 64 features; model/transformer reads 32."),
    ],
)
def test_encoders_of_another_width_are_refused(model, said, tmp_path, part, sizes, message):
    other = tmp_path / "wide"
    write_model(other, transformer=replace(TINY_TRANSFORMER, **sizes))
    said_of = said(FLAGS[part], other / part)
    assert f"{other / part}: {message} Give this model's own part with {FLAGS[part]}." in said_of


@pytest.mark.parametrize("part", [part for part in FLAGS if part != "vae"])
def test_single_files_of_networks_that_were_never_released_ask_for_their_settings(
    model, said, tmp_path, part
):
    file = alone(model / part, tmp_path / "single.safetensors")
    message = said(FLAGS[part], file)
    assert f"{file}: " in message
    assert "Give the folder that has its config.json." in message


@pytest.mark.parametrize("file", WEIGHTS)
def test_truncated_weights_say_how_much_is_missing(model, said, file):
    content = (model / file).read_bytes()
    (model / file).write_bytes(content[:-1000])
    assert f"model/{file}: the file ends early, 1,000 bytes are missing." in said()


@pytest.mark.parametrize("file", WEIGHTS)
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("<!DOCTYPE html><html>Sign in</html>", "this is a web page"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 1234567\n", "git lfs pull"),
    ],
)
def test_what_is_left_of_a_failed_download_is_told(model, said, file, content, reason):
    (model / file).write_text(content)
    message = said()
    assert f"model/{file}: " in message
    assert reason in message


@pytest.mark.parametrize("file", WEIGHTS)
def test_a_shard_that_is_missing_is_named(model, said, file):
    numbered = (model / file).with_name(Path(file).name.replace(".safe", "-00001-of-00003.safe"))
    (model / file).rename(numbered)
    for words in ((), (FLAGS[Path(file).parent.name], numbered)):
        message = said(*words)
        assert "2 of 3 files of weights are missing" in message
        assert "-00002-of-00003.safetensors" in message
        assert "fetch them" in message


@pytest.mark.parametrize("part", FLAGS)
@pytest.mark.parametrize(
    ("content", "reason"), [("<html></html>", "is damaged"), ("[]", "is no table of settings")]
)
def test_damaged_settings_are_named(model, said, part, content, reason):
    (model / part / "config.json").write_text(content)
    message = said()
    assert f"model/{part}/config.json: " in message
    assert reason in message


def test_settings_of_another_size_name_the_tensors_that_lack(model, said):
    path = model / "transformer" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "num_single_layers": 3}))
    assert "missing: single_transformer_blocks.2." in said()


@pytest.mark.parametrize("name", ["tokenizer", "tokenizer_2"])
def test_a_tokenizer_that_is_missing_is_named(model, said, name):
    for file in (model / name).iterdir():
        file.unlink()
    message = said()
    assert f"model/{name}: no tokenizer is here" in message
    assert "Name the folder `tokenizer` of the model." in message
    assert "nowhere: no tokenizer is here" in said(f"--{name.replace('_', '-')}", "nowhere")


@pytest.mark.parametrize("flag", FLAGS.values())
def test_files_that_are_not_there_are_named(model, said, flag):
    assert "nowhere.safetensors: there is no such file" in said(flag, "nowhere.safetensors")


def test_tokenizers_of_the_other_encoder_are_refused(model, said):
    message = said("--tokenizer-2", model / "tokenizer")
    assert f"{model / 'tokenizer'}: ends a prompt with token" in message
    assert "Give the tokenizer that belongs to this text encoder." in message


def test_a_part_that_is_missing_from_a_folder_is_looked_for_where_it_was_released(model, said):
    shutil.rmtree(model / "image_encoder")
    message = said()
    assert "lllyasviel/flux_redux_bfl: it is not in the cache of downloads" in message
    assert "Files of your own are named with --image-encoder." in message


def test_a_direction_that_the_checkpoint_is_not_for_is_refused(model, said):
    message = said("--direction", "forward", code=2)
    assert "model/transformer is FramePack, not F1 by reelwright.json" in message
    assert "Use --direction backward (no --f1), or the other model" in message
