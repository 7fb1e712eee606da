"""The LLaMA text encoder against transformers' own network and tokenizer used directly."""

import json
import shutil

import pytest
import safetensors.torch
import torch
import transformers

from reelwright.checkpoint.safetensors_io import save_sharded
from reelwright.core.errors import CheckpointError
from reelwright.data.synthetic.simple_captions import simple_captions
from reelwright.encoders.llama import LlamaText
from reelwright.families.framepack.tiny_tokenizers import write_llama_tokenizer

PROMPTS = ("A red fox runs over the floor.", "", "  two   spaces,\nand 日本 ½ ünknown", "a {} in braces {0}")
RELEASED_TEMPLATE = (
    "<|start_header_id|>system<|end_header_id|>\n\nDescribe the video by detailing the following aspects: "
    "1. The main content and theme of the video."
    "2. The color, shape, size, texture, quantity, text, and spatial relationships of the objects."
    "3. Actions, events, behaviors temporal relationships, physical movement changes of the objects."
    "4. background environment, light, style and atmosphere."
    "5. camera angles, movements, and transitions used in the video:<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\n{}<|eot_id|>"
)


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    """Heads are as wide as those of the released network: no tensor of a single file tells how wide."""
    folder = tmp_path_factory.mktemp("llama")
    num_tokens = write_llama_tokenizer(folder / "tokenizer", simple_captions())
    config = transformers.LlamaConfig(
        vocab_size=num_tokens + 16,
        hidden_size=256,
        intermediate_size=96,
        num_hidden_layers=5,
        num_attention_heads=2,
        num_key_value_heads=1,
        rms_norm_eps=1e-5,
        rope_theta=500_000.0,
        max_position_embeddings=8192,
    )
    torch.manual_seed(0)
    network = transformers.LlamaModel(config)
    for parameter in network.parameters():  # far from the start of training, so that every layer counts
        torch.nn.init.normal_(parameter, std=0.1) if parameter.ndim == 2 else torch.nn.init.uniform_(
            parameter
        )
    network.save_pretrained(folder / "text_encoder")
    return folder


@pytest.fixture(scope="module")
def reference(model_folder):
    return transformers.LlamaModel.from_pretrained(model_folder / "text_encoder").eval()


@pytest.fixture(scope="module")
def reference_tokenizer(model_folder):
    return transformers.PreTrainedTokenizerFast.from_pretrained(model_folder / "tokenizer")


@pytest.fixture
def text(model_folder):
    return LlamaText(model_folder / "text_encoder", model_folder / "tokenizer")


def released_features(reference, tokenizer, prompt, template=RELEASED_TEMPLATE, crop=95):
    """As the released pipeline encodes: padded to a length, a mask, the third state from the end, cropped."""
    batch = tokenizer(
        template.replace("{}", prompt, 1),
        max_length=256 + crop,
        padding="max_length",
        truncation=True,
        return_tensors="pt",
    )
    with torch.no_grad():
        states = reference(
            input_ids=batch.input_ids, attention_mask=batch.attention_mask, output_hidden_states=True
        ).hidden_states[-3]
    return states[:, crop : int(batch.attention_mask.sum())]


def encode(text, prompts=PROMPTS, dtype=torch.float32, **options):
    return text.encode(prompts, device="cpu", dtype=dtype, **options)


def assert_near(found, expected, tolerance=1e-5):
    assert (found - expected).abs().max() <= tolerance * expected.abs().max()


def test_features_are_those_of_transformers_padded_with_zeros(text, reference, reference_tokenizer):
    features = encode(text)
    assert features.states_BLD.shape == (4, 512, 256)
    for row, length, prompt in zip(features.states_BLD, features.lengths, PROMPTS, strict=True):
        expected = released_features(reference, reference_tokenizer, prompt)
        assert length == expected.shape[1]
        assert_near(row[:length], expected[0])
        assert not row[length:].any()


def test_the_released_instruction_takes_the_released_number_of_tokens(text):
    assert text.crop_start() == 95


def test_tokens_are_those_of_the_released_template(text, reference_tokenizer):
    for prompt in PROMPTS:
        expected = reference_tokenizer(RELEASED_TEMPLATE.replace("{}", prompt, 1)).input_ids
        assert text.tokenize(prompt) == (expected, "")


def test_the_state_read_is_the_output_of_the_last_layer_but_two(reference):
    """transformers counts the embedding as the first state and the normed output as the last."""
    seen = []
    hook = reference.layers[-3].register_forward_hook(lambda *arguments: seen.append(arguments[-1]))
    states = reference(torch.tensor([[1, 2, 3]]), output_hidden_states=True).hidden_states
    hook.remove()
    assert torch.equal(states[-3], seen[0] if torch.is_tensor(seen[0]) else seen[0][0])


def test_features_of_a_prompt_do_not_depend_on_its_neighbors(text):
    alone = encode(text, PROMPTS[2:3])
    assert torch.equal(encode(text).states_BLD[2:3], alone.states_BLD)


def test_an_instruction_of_ones_own_takes_the_place_of_the_released_one(text, reference, reference_tokenizer):
    own = "Say what {moves}."
    before = "<|start_header_id|>system<|end_header_id|>\n\n" + own
    before += "<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n"
    crop = len(reference_tokenizer(before).input_ids)
    assert text.crop_start(own) == crop < 95
    features = encode(text, PROMPTS[:1], system_prompt=own)
    expected = released_features(reference, reference_tokenizer, PROMPTS[0], before + "{}<|eot_id|>", crop)
    assert_near(features.states_BLD[:, : features.lengths[0]], expected)


@pytest.mark.parametrize("num_words", [255, 256, 300])
def test_a_long_prompt_is_cut_and_the_rest_is_told(text, reference, reference_tokenizer, num_words):
    prompt = " ".join(["fox"] * num_words)
    ids, dropped = text.tokenize(prompt)
    assert dropped.split() == ["fox"] * max(0, num_words - 256 + _first_word_pieces(text) - 1)
    features = encode(text, [prompt])
    expected = released_features(reference, reference_tokenizer, prompt)
    assert features.lengths == (expected.shape[1],) == (min(len(ids) - 95, 256),)
    assert_near(features.states_BLD[:, : features.lengths[0]], expected)


def _first_word_pieces(text):
    """The first word has no space before it, which may take more pieces."""
    return len(text.tokenize("fox")[0]) - 95 - 1


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 0.05), (torch.float16, 0.005)])
def test_short_number_formats_follow_transformers(model_folder, text, reference_tokenizer, dtype, tolerance):
    reference = transformers.LlamaModel.from_pretrained(model_folder / "text_encoder", dtype=dtype).eval()
    features = encode(text, PROMPTS[:1], dtype=dtype)
    expected = released_features(reference, reference_tokenizer, PROMPTS[0])
    assert features.states_BLD.dtype == expected.dtype == dtype
    assert_near(features.states_BLD[:, : features.lengths[0]], expected, tolerance)


@pytest.fixture(scope="module")
def state(reference):
    return {name: tensor.clone() for name, tensor in reference.state_dict().items()}


@pytest.mark.parametrize("prefix", ["model.", "language_model.model.", "", "model.language_model."])
def test_a_single_file_needs_no_config(model_folder, state, text, tmp_path, prefix):
    file = {prefix + name: tensor for name, tensor in state.items()}
    head = "language_model.lm_head.weight" if prefix.startswith("language_model") else "lm_head.weight"
    file[head] = torch.ones(4, 4)
    file["tokenizer_json"] = torch.zeros(3, dtype=torch.uint8)
    safetensors.torch.save_file(file, tmp_path / "llava_llama3_fp16.safetensors")
    single = LlamaText(tmp_path / "llava_llama3_fp16.safetensors", model_folder / "tokenizer")
    single.check()
    assert single.width == 256
    assert torch.equal(encode(single).states_BLD, encode(text).states_BLD)


def test_a_whole_model_a_folder_of_shards_and_a_shard_will_do(model_folder, state, text, tmp_path):
    save_sharded(tmp_path / "text_encoder", state, max_shard_bytes=300_000, stem="model")
    shutil.copy(model_folder / "text_encoder" / "config.json", tmp_path / "text_encoder")
    shutil.copytree(model_folder / "tokenizer", tmp_path / "tokenizer")
    shards = sorted((tmp_path / "text_encoder").glob("model-00001-of-*.safetensors"))
    for encoder in (tmp_path, tmp_path / "text_encoder", shards[0]):
        other = LlamaText(encoder, tmp_path)
        other.check()
        assert torch.equal(encode(other).states_BLD, encode(text).states_BLD)


def test_layers_that_nothing_is_read_from_are_not_loaded(text):
    loaded = text.encoder.loaded(torch.device("cpu"), torch.float32)
    names = {name.split(".")[1] for name, _ in loaded.named_parameters() if name.startswith("layers.")}
    assert names == {"0", "1", "2"}
    text.release()
    assert text.encoder.network is None
    assert len(text.encoder.loaded(torch.device("cpu"), torch.float32).layers) == 3


def message_of(encoder_path, tokenizer_path) -> str:
    with pytest.raises(CheckpointError) as caught:
        LlamaText(encoder_path, tokenizer_path).check()
    return str(caught.value)


def test_a_good_model_passes_the_check(text):
    text.check()


def test_what_is_wrong_with_the_encoder_is_told(model_folder, state, tmp_path):
    tokenizer = model_folder / "tokenizer"
    safetensors.torch.save_file({"proj_out.weight": torch.zeros(2)}, tmp_path / "vae.safetensors")
    assert "not a LLaMA text encoder" in message_of(tmp_path / "vae.safetensors", tokenizer)
    folder = tmp_path / "text_encoder"
    shutil.copytree(model_folder / "text_encoder", folder)
    settings = json.loads((folder / "config.json").read_text())
    for change, expected in (
        # The last two layers are not used, but a file without them is not whole.
        ({"num_hidden_layers": 6}, "9 missing: layers.5"),
        ({"num_hidden_layers": 4}, "9 unexpected: layers.4"),
        ({"model_type": "gemma"}, "is of gemma"),
        ({"hidden_size": "wide"}, "is damaged"),
        ({"num_key_value_heads": 3}, "2 heads are no multiple of 3 for keys and values"),
        ({"attention_bias": True}, "are of no LLaMA text encoder (its layers have biases)"),
    ):
        (folder / "config.json").write_text(json.dumps({**settings, **change}))
        assert expected in message_of(folder, tokenizer)


def test_what_is_wrong_with_the_tokenizer_is_told(model_folder, tmp_path):
    encoder = model_folder / "text_encoder"
    assert "no tokenizer is here" in message_of(encoder, tmp_path)
    for content, expected in (
        (b"", "the file is empty"),
        (b"version https://git-lfs.github.com/spec/v1\nsize 791656\n", "git-lfs pointer"),
        (b"garbage" * 20, "tokenizer is damaged"),
        (b"{}", "cannot be read"),
    ):
        (tmp_path / "tokenizer.json").write_bytes(content)
        assert expected in message_of(encoder, tmp_path)
    whole = json.loads((model_folder / "tokenizer" / "tokenizer.json").read_text())
    whole["added_tokens"] = [token for token in whole["added_tokens"] if token["content"] != "<|eot_id|>"]
    (tmp_path / "tokenizer.json").write_text(json.dumps(whole))
    assert "does not know <|eot_id|>" in message_of(encoder, tmp_path)


def test_a_tokenizer_with_too_many_tokens_is_refused(model_folder, tmp_path):
    whole = json.loads((model_folder / "tokenizer" / "tokenizer.json").read_text())
    last = max(token["id"] for token in whole["added_tokens"])
    whole["added_tokens"] += [
        {**whole["added_tokens"][-1], "id": last + number, "content": f"<extra_{number}>"}
        for number in range(1, 40)
    ]
    (tmp_path / "tokenizer.json").write_text(json.dumps(whole))
    assert "tokenizer that belongs" in message_of(model_folder / "text_encoder", tmp_path)


def test_the_first_token_is_there_whether_or_not_the_tokenizer_adds_it(model_folder, text, tmp_path):
    """Released tokenizer.json files of LLaMA 3 differ in this."""
    whole = json.loads((model_folder / "tokenizer" / "tokenizer.json").read_text())
    (tmp_path / "tokenizer.json").write_text(json.dumps({**whole, "post_processor": None}))
    plain = LlamaText(model_folder / "text_encoder", tmp_path)
    assert [plain.tokenize(prompt) for prompt in PROMPTS] == [text.tokenize(prompt) for prompt in PROMPTS]


def test_a_tokenizer_of_the_released_size_that_splits_the_instruction_otherwise_is_refused(
    model_folder, tmp_path
):
    whole = json.loads((model_folder / "tokenizer" / "tokenizer.json").read_text())
    words = whole["model"]["vocab"]
    words |= {f"unused{number}": number for number in range(len(words), 128_000)}
    whole["added_tokens"] = [
        {**token, "id": 128_000 + number} for number, token in enumerate(whole["added_tokens"])
    ]
    whole["post_processor"] = None
    (tmp_path / "tokenizer.json").write_text(json.dumps(whole))
    assert "belongs to this text encoder" in message_of(model_folder / "text_encoder", tmp_path)
    whole["model"]["merges"] = whole["model"]["merges"][:10]
    (tmp_path / "tokenizer.json").write_text(json.dumps(whole))
    assert "tokens of the released instruction, not 95" in message_of(model_folder / "text_encoder", tmp_path)
