"""The CLIP text encoder against transformers' own network and tokenizer used directly."""

import json
import shutil

import pytest
import safetensors.torch
import torch
import transformers

from reelwright.core.errors import CheckpointError
from reelwright.data.synthetic.simple_captions import simple_captions
from reelwright.encoders.clip import ClipText
from reelwright.families.framepack.tiny_tokenizers import write_clip_tokenizer

PROMPTS = ("A red fox runs over the floor.", "", "  two   spaces,\nand 日本 ½ Ünknown", "ball " * 100)


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    """Heads are as wide as those of the released network: no tensor of a single file tells how wide."""
    folder = tmp_path_factory.mktemp("clip")
    num_tokens = write_clip_tokenizer(folder / "tokenizer_2", simple_captions())
    config = transformers.CLIPTextConfig(
        vocab_size=num_tokens,
        hidden_size=128,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=77,
        hidden_act="quick_gelu",
        eos_token_id=2,
    )
    torch.manual_seed(0)
    network = transformers.CLIPTextModel(config)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    network.save_pretrained(folder / "text_encoder_2")
    return folder


@pytest.fixture(scope="module")
def reference(model_folder):
    return transformers.CLIPTextModel.from_pretrained(model_folder / "text_encoder_2").eval()


@pytest.fixture(scope="module")
def reference_tokenizer(model_folder):
    return transformers.CLIPTokenizer.from_pretrained(model_folder / "tokenizer_2")


@pytest.fixture
def text(model_folder):
    return ClipText(model_folder / "text_encoder_2", model_folder / "tokenizer_2")


def released_ids(tokenizer, prompts):
    return tokenizer(
        list(prompts), padding="max_length", max_length=77, truncation=True, return_tensors="pt"
    ).input_ids


def encode(text, prompts=PROMPTS, dtype=torch.float32):
    return text.encode(prompts, device="cpu", dtype=dtype)


def assert_near(found, expected, tolerance=1e-5):
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= tolerance * expected.abs().max()


def test_features_are_those_of_transformers(text, reference, reference_tokenizer):
    with torch.no_grad():
        expected = reference(released_ids(reference_tokenizer, PROMPTS)).pooler_output
    assert_near(encode(text), expected)


def test_tokens_are_those_of_transformers(text, reference_tokenizer):
    ids = [text.tokenize(prompt)[0] for prompt in PROMPTS]
    assert ids == released_ids(reference_tokenizer, PROMPTS).tolist()


def test_the_vector_is_that_of_the_first_token_which_ends_the_prompt(text, reference, reference_tokenizer):
    ids = released_ids(reference_tokenizer, PROMPTS[:1])
    place = ids[0].tolist().index(reference_tokenizer.eos_token_id)
    with torch.no_grad():
        states = reference(ids).last_hidden_state
    assert_near(encode(text, PROMPTS[:1]), states[:, place])


def test_features_of_a_prompt_do_not_depend_on_its_neighbors(text):
    assert torch.equal(encode(text)[2:3], encode(text, PROMPTS[2:3]))


def test_the_text_that_was_cut_off_is_told(text):
    assert text.tokenize(PROMPTS[3])[1].split() == ["ball"] * 25
    assert text.tokenize("ball " * 75)[1] == ""


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 0.05), (torch.float16, 0.005)])
def test_short_number_formats_follow_transformers(model_folder, text, reference_tokenizer, dtype, tolerance):
    reference = transformers.CLIPTextModel.from_pretrained(model_folder / "text_encoder_2", dtype=dtype)
    with torch.no_grad():
        expected = reference.eval()(released_ids(reference_tokenizer, PROMPTS)).pooler_output
    features = encode(text, dtype=dtype)
    assert features.dtype == expected.dtype == dtype
    assert_near(features, expected, tolerance)


@pytest.fixture(scope="module")
def state(reference):
    """By the names that released files have."""
    return {f"text_model.{name}": tensor.clone() for name, tensor in reference.state_dict().items()}


@pytest.mark.parametrize("prefix", ["", "text_encoders.clip_l.transformer."])
def test_a_single_file_needs_no_config(model_folder, state, text, tmp_path, prefix):
    file = {prefix + name: tensor for name, tensor in state.items()}
    file[f"{prefix}text_model.embeddings.position_ids"] = torch.arange(77).unsqueeze(0)
    file[f"{prefix}text_projection.weight"] = torch.ones(4, 4)
    file[f"{prefix}logit_scale"] = torch.ones(1)
    safetensors.torch.save_file(file, tmp_path / "clip_l.safetensors")
    single = ClipText(tmp_path / "clip_l.safetensors", model_folder / "tokenizer_2")
    single.check()
    assert single.width == 128
    assert torch.equal(encode(single), encode(text))


def test_a_whole_model_and_one_with_its_image_half_will_do(model_folder, reference, text, tmp_path):
    whole = ClipText(model_folder, model_folder)
    whole.check()
    assert torch.equal(encode(whole), encode(text))
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.CLIPConfig(text_config=reference.config.to_dict(), vision_config=vision)
    both = transformers.CLIPModel(config)
    inner = getattr(both.text_model, "text_model", both.text_model)
    inner.load_state_dict(reference.state_dict())
    both.save_pretrained(tmp_path)
    half = ClipText(tmp_path, model_folder)
    half.check()
    assert torch.equal(encode(half), encode(text))


def test_either_tokenizer_file_will_do(model_folder, reference_tokenizer, text, tmp_path):
    reference_tokenizer.save_pretrained(tmp_path)
    (tmp_path / "vocab.json").unlink(missing_ok=True)
    other = ClipText(model_folder, tmp_path)
    assert [other.tokenize(prompt) for prompt in PROMPTS] == [text.tokenize(prompt) for prompt in PROMPTS]


def message_of(encoder_path, tokenizer_path) -> str:
    with pytest.raises(CheckpointError) as caught:
        ClipText(encoder_path, tokenizer_path).check()
    return str(caught.value)


def test_a_good_model_passes_the_check_and_is_released_on_demand(text):
    text.check()
    encode(text)
    text.release()
    assert text.encoder.network is None


def test_what_is_wrong_with_the_encoder_is_told(model_folder, tmp_path):
    safetensors.torch.save_file({"proj_out.weight": torch.zeros(2)}, tmp_path / "vae.safetensors")
    assert "not a CLIP text encoder" in message_of(tmp_path / "vae.safetensors", model_folder)
    shutil.copytree(model_folder / "text_encoder_2", tmp_path / "text_encoder_2")
    described = tmp_path / "text_encoder_2" / "config.json"
    settings = json.loads(described.read_text())
    for change, expected in (
        ({"num_hidden_layers": 3}, "16 missing: encoder.layers.2"),
        ({"model_type": "bert"}, "is of bert"),
        ({"hidden_size": "wide"}, "is damaged"),
        ({"eos_token_id": 5}, "looks for 5"),
    ):
        described.write_text(json.dumps({**settings, **change}))
        assert expected in message_of(tmp_path, model_folder)


def test_what_is_wrong_with_the_tokenizer_is_told(model_folder, tmp_path):
    assert "no tokenizer is here (tokenizer.json or vocab.json with merges.txt)" in message_of(
        model_folder, tmp_path
    )
    for name in ("vocab.json", "merges.txt"):
        folder = tmp_path / name.partition(".")[0]
        shutil.copytree(model_folder / "tokenizer_2", folder)
        for content, expected in (
            (b"", "the file is empty"),
            (b"version https://git-lfs.github.com/spec/v1\nsize 791656\n", "git-lfs pointer"),
            (b"\xff\xfe\x00" * 20, "tokenizer is damaged"),
        ):
            (folder / name).write_bytes(content)
            assert expected in message_of(model_folder, folder)
    (folder / "merges.txt").write_text("#version: 0.2\none two three\n")
    assert "cannot be read" in message_of(model_folder, folder)


def test_a_tokenizer_whose_last_token_does_not_end_prompts_is_refused(model_folder, tmp_path):
    """The encoder finds the end of a prompt by its largest token."""
    shutil.copytree(model_folder / "tokenizer_2", tmp_path / "tokenizer_2")
    path = tmp_path / "tokenizer_2" / "vocab.json"
    tokens = json.loads(path.read_text())
    tokens["<|endoftext|>"], tokens["<|startoftext|>"] = tokens["<|startoftext|>"], tokens["<|endoftext|>"]
    path.write_text(json.dumps(tokens))
    assert "ends a prompt with token" in message_of(model_folder, tmp_path)
