"""The text encoder against transformers' own, with a small tokenizer trained here."""

import json
import random
import shutil
import socket

import pytest
import safetensors.torch
import sentencepiece
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st

from reelwright.checkpoint.safetensors_io import save_sharded
from reelwright.core.errors import CheckpointError
from reelwright.encoders.t5 import T5Text

LENGTH = 24
WORDS = [
    "a",
    "the",
    "cat",
    "dog",
    "red",
    "blue",
    "runs",
    "jumps",
    "over",
    "slowly",
    "river",
    "mountain",
    "golden",
    "light",
    "camera",
    "pans",
    "across",
    "hills",
    "sky",
    "night",
    "city",
    "rain",
    "3",
    "25",
    "café",
    "naïve",
]
PROMPTS = (
    "A red cat runs over the hills.",
    "",
    "the   camera pans slowly, at night",
    "日本 ½ ﬁne\tünknown\nwords",
)


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    """A T5 as released models carry it: text_encoder saved by transformers, tokenizer as spiece.model."""
    folder = tmp_path_factory.mktemp("t5")
    chooser = random.Random(0)
    lines = [
        " ".join(chooser.choices(WORDS, k=chooser.randint(4, 14))) + chooser.choice(".!?,")
        for _ in range(600)
    ]
    (folder / "corpus.txt").write_text("\n".join(lines))
    (folder / "tokenizer").mkdir()
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "corpus.txt"),
        model_prefix=str(folder / "tokenizer" / "spiece"),
        vocab_size=200,
        hard_vocab_limit=False,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
    )
    config = transformers.T5Config(
        vocab_size=256,
        d_model=32,
        d_kv=8,
        d_ff=48,
        num_layers=3,
        num_heads=4,
        relative_attention_num_buckets=16,
        feed_forward_proj="gated-gelu",
    )
    torch.manual_seed(0)
    transformers.T5EncoderModel(config).save_pretrained(folder / "text_encoder")
    return folder


@pytest.fixture(scope="module")
def reference(model_folder):
    return transformers.T5EncoderModel.from_pretrained(model_folder / "text_encoder").eval()


@pytest.fixture(scope="module")
def reference_tokenizer(model_folder):
    return transformers.T5Tokenizer.from_pretrained(model_folder / "tokenizer")


@pytest.fixture
def text(model_folder):
    return T5Text(model_folder / "text_encoder", model_folder / "tokenizer")


def released_features(reference, tokenizer, prompts):
    """As the released pipelines encode: padded and cut to a length, and no mask for the encoder."""
    batch = tokenizer(
        list(prompts), padding="max_length", max_length=LENGTH, truncation=True, return_tensors="pt"
    )
    with torch.no_grad():
        return reference(batch.input_ids)[0]


def encode(text, prompts=PROMPTS, dtype=torch.float32):
    return text.encode(prompts, LENGTH, device="cpu", dtype=dtype)


def test_features_are_those_of_transformers(text, reference, reference_tokenizer):
    features = encode(text)
    assert features.shape == (4, LENGTH, 32)
    expected = released_features(reference, reference_tokenizer, PROMPTS)
    assert (features - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_features_of_a_prompt_do_not_depend_on_its_neighbors(text):
    assert torch.equal(encode(text)[2:3], encode(text, PROMPTS[2:3]))


def test_features_can_be_learned_from(text):
    assert not encode(text).is_inference()
    assert not encode(text).requires_grad


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 0.05), (torch.float16, 0.005)])
def test_short_number_formats_follow_transformers(model_folder, text, reference_tokenizer, dtype, tolerance):
    reference = transformers.T5EncoderModel.from_pretrained(model_folder / "text_encoder", dtype=dtype)
    features = encode(text, dtype=dtype)
    expected = released_features(reference, reference_tokenizer, PROMPTS)
    assert features.dtype == expected.dtype == dtype
    assert (features - expected).abs().max() <= tolerance * expected.abs().max()


def test_in_half_precision_the_matrix_that_overflows_stays_in_single(model_folder, text):
    reference = transformers.T5EncoderModel.from_pretrained(
        model_folder / "text_encoder", dtype=torch.float16
    )
    expected = {name: parameter.dtype for name, parameter in reference.named_parameters()}
    loaded = text.encoder.loaded(torch.device("cpu"), torch.float16)
    assert {name: parameter.dtype for name, parameter in loaded.named_parameters()} == expected
    assert set(expected.values()) == {torch.float16, torch.float32}


@given(prompt=st.text(st.sampled_from("abc dogrunsé½日.,!\t\n"), max_size=60), max_tokens=st.integers(2, 30))
def test_tokens_are_those_of_transformers_at_any_length(
    model_folder, reference_tokenizer, prompt, max_tokens
):
    text = T5Text(model_folder / "text_encoder", _cached_tokenizer(model_folder))
    ids, _ = text.tokenize(prompt, max_tokens)
    options = {"padding": "max_length", "max_length": max_tokens, "truncation": True}
    assert ids == reference_tokenizer(prompt, **options).input_ids


def _cached_tokenizer(model_folder):
    """Loading takes longer than an example may: the folder with the fast file."""
    folder = model_folder / "fast"
    if not folder.exists():
        transformers.T5Tokenizer.from_pretrained(model_folder / "tokenizer").save_pretrained(folder)
    return folder


def test_tokens_are_those_of_sentencepiece_itself(model_folder, text):
    model_file = str(model_folder / "tokenizer" / "spiece.model")
    processor = sentencepiece.SentencePieceProcessor(model_file=model_file)
    for prompt in PROMPTS:
        pieces = [*processor.encode(prompt), 1]
        assert text.tokenize(prompt, 64)[0] == pieces + [0] * (64 - len(pieces))


def test_either_tokenizer_file_will_do_and_no_network_is_needed(model_folder, text, tmp_path, monkeypatch):
    def refuse(*_):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    whole = _cached_tokenizer(model_folder)
    shutil.copy(whole / "tokenizer.json", tmp_path)
    for folder in (whole, tmp_path, tmp_path / "tokenizer.json", model_folder / "tokenizer" / "spiece.model"):
        other = T5Text(model_folder / "text_encoder", folder)
        assert [other.tokenize(prompt, 40) for prompt in PROMPTS] == [
            text.tokenize(prompt, 40) for prompt in PROMPTS
        ]


def test_the_tokenizer_settings_of_released_models_are_understood(model_folder, text, tmp_path):
    """tokenizer_config.json of the released models, as the older library wrote it."""
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(model_folder / "tokenizer" / "spiece.model"))
    extra = [f"<extra_id_{number}>" for number in range(100)]
    numbered = {piece: pieces.vocab_size() + 99 - number for number, piece in enumerate(extra)}
    special = {"<pad>": 0, "</s>": 1, "<unk>": 2, **numbered}
    settings = {
        "added_tokens_decoder": {
            str(token): {"content": piece, "special": True} for piece, token in special.items()
        },
        "additional_special_tokens": extra,
        "clean_up_tokenization_spaces": True,
        "eos_token": "</s>",
        "extra_ids": 100,
        "legacy": True,
        "model_max_length": 226,
        "pad_token": "<pad>",
        "sp_model_kwargs": {},
        "tokenizer_class": "T5Tokenizer",
        "unk_token": "<unk>",
    }
    shutil.copy(model_folder / "tokenizer" / "spiece.model", tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    (tmp_path / "added_tokens.json").write_text(json.dumps(numbered))
    released = T5Text(model_folder / "text_encoder", tmp_path)
    for prompt in PROMPTS:
        assert released.tokenize(prompt, 40) == text.tokenize(prompt, 40)


@given(count=st.integers(1, 40), max_tokens=st.integers(2, 20))
def test_the_text_that_was_cut_off_is_told(model_folder, count, max_tokens):
    text = T5Text(model_folder / "text_encoder", _cached_tokenizer(model_folder))
    prompt = " ".join(["cat"] * count)  # one token each
    ids, dropped = text.tokenize(prompt, max_tokens)
    assert len(ids) == max_tokens
    assert dropped.split() == ["cat"] * max(0, count + 1 - max_tokens)
    assert ids[min(count, max_tokens - 1)] == 1
    assert ids[count + 1 :] == [0] * max(0, max_tokens - count - 1)


@pytest.fixture(scope="module")
def state(reference):
    return {name: tensor.clone() for name, tensor in reference.state_dict().items()}


@pytest.mark.parametrize("names", ["both", "shared", "stack"])
@pytest.mark.parametrize("prefix", ["", "text_encoders.t5xxl.transformer."])
def test_a_single_file_needs_no_config(
    model_folder, state, reference, reference_tokenizer, tmp_path, names, prefix
):
    kept = {"shared": "encoder.embed_tokens.weight", "stack": "shared.weight", "both": None}[names]
    file = {prefix + name: tensor for name, tensor in state.items() if name != kept}
    file[f"{prefix}decoder.block.0.layer.0.layer_norm.weight"] = torch.ones(32)
    safetensors.torch.save_file(file, tmp_path / "t5.safetensors")
    text = T5Text(tmp_path / "t5.safetensors", model_folder / "tokenizer")
    text.check()
    assert text.width == 32
    expected = released_features(reference, reference_tokenizer, PROMPTS)
    assert (encode(text) - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_a_plain_fp8_file_is_the_nearest_fp8_numbers(model_folder, state, text, tmp_path):
    rounded = {name: tensor.to(torch.float8_e4m3fn) for name, tensor in state.items()}
    safetensors.torch.save_file(rounded, tmp_path / "fp8.safetensors")
    wide = {name: tensor.float() for name, tensor in rounded.items()}
    safetensors.torch.save_file(wide, tmp_path / "wide.safetensors")
    both = [T5Text(tmp_path / f"{name}.safetensors", model_folder / "tokenizer") for name in ("fp8", "wide")]
    assert torch.equal(encode(both[0]), encode(both[1]))
    assert not torch.equal(encode(both[0]), encode(text))


def test_a_sharded_folder_loads(model_folder, state, text, tmp_path):
    save_sharded(tmp_path, state, max_shard_bytes=20_000, stem="model")
    shutil.copy(model_folder / "text_encoder" / "config.json", tmp_path)
    assert torch.equal(encode(T5Text(tmp_path, model_folder / "tokenizer")), encode(text))


def test_the_ungated_first_version_loads(model_folder, tmp_path):
    config = transformers.T5Config(
        vocab_size=256, d_model=16, d_kv=4, d_ff=24, num_layers=2, num_heads=2, feed_forward_proj="relu"
    )
    reference = transformers.T5EncoderModel(config).eval()
    safetensors.torch.save_file(
        {name: tensor.clone() for name, tensor in reference.state_dict().items()}, tmp_path / "t5.safetensors"
    )
    text = T5Text(tmp_path / "t5.safetensors", model_folder / "tokenizer")
    ids = torch.tensor([text.tokenize(PROMPTS[0], LENGTH)[0]])
    expected = reference(ids)[0].detach()
    assert (encode(text, PROMPTS[:1]) - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_the_encoder_is_loaded_once_and_released_on_demand(text):
    encode(text)
    encoder = text.encoder.network
    encode(text)
    assert text.encoder.network is encoder
    assert encoder.shared.weight is encoder.encoder.embed_tokens.weight
    text.release()
    assert text.encoder.network is None
    encode(text, dtype=torch.bfloat16)
    assert text.encoder.network.dtype == torch.bfloat16


def message_of(encoder_path, tokenizer_path) -> str:
    with pytest.raises(CheckpointError) as caught:
        T5Text(encoder_path, tokenizer_path).check()
    return str(caught.value)


def test_a_good_model_passes_the_check(text):
    text.check()


def test_what_is_wrong_with_the_encoder_is_told(model_folder, tmp_path):
    tokenizer = model_folder / "tokenizer"
    safetensors.torch.save_file({"proj_out.weight": torch.zeros(2)}, tmp_path / "vae.safetensors")
    message = message_of(tmp_path / "vae.safetensors", tokenizer)
    assert "not a T5 text encoder; its first tensors are proj_out.weight" in message

    folder = tmp_path / "text_encoder"
    shutil.copytree(model_folder / "text_encoder", folder)
    settings = json.loads((folder / "config.json").read_text())
    for change, expected in (
        ({"num_layers": 4}, "9 missing: encoder.block.3"),
        ({"num_layers": 2}, "9 unexpected: encoder.block.2"),
        ({"d_ff": 64}, "is [48, 32], needed is [64, 32]"),
        ({"d_model": "wide"}, "is damaged"),
        ({"model_type": "umt5"}, "is of umt5"),
        ({"vocab_size": 128}, "needed is [128, 32]"),
    ):
        (folder / "config.json").write_text(json.dumps({**settings, **change}))
        assert expected in message_of(folder, tokenizer)
    (folder / "config.json").write_text("{")
    assert "config.json: is damaged" in message_of(folder, tokenizer)


def test_what_is_wrong_with_the_tokenizer_is_told(model_folder, state, tmp_path):
    encoder = model_folder / "text_encoder"
    assert "no tokenizer is here" in message_of(encoder, tmp_path)
    for name in ("spiece.model", "tokenizer.json"):
        for content, expected in (
            (b"", "the file is empty"),
            (b"version https://git-lfs.github.com/spec/v1\nsize 791656\n", "git-lfs pointer"),
            (b"garbage" * 20, "tokenizer is damaged"),
        ):
            (tmp_path / name).write_bytes(content)
            assert expected in message_of(encoder, tmp_path)
        (tmp_path / name).unlink()
    (tmp_path / "tokenizer.json").write_text("{}")
    assert "cannot be read" in message_of(encoder, tmp_path)

    small = {name: tensor[:100] if tensor.shape == (256, 32) else tensor for name, tensor in state.items()}
    safetensors.torch.save_file({k: v.clone() for k, v in small.items()}, tmp_path / "small.safetensors")
    message = message_of(tmp_path / "small.safetensors", model_folder / "tokenizer")
    assert "tokens, but" in message
    assert "knows 100" in message
