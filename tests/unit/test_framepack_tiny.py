"""The writer of small models."""

import json
from pathlib import Path

import pytest
import torch
import transformers

import reelwright
from reelwright.checkpoint.loading import check_network
from reelwright.checkpoint.safetensors_io import open_tensors
from reelwright.checkpoint.settings_files import read_settings
from reelwright.encoders.clip import ClipText
from reelwright.encoders.llama import LlamaText
from reelwright.encoders.siglip import SiglipImage
from reelwright.families.framepack.autoencoder import FramePackAutoencoder
from reelwright.families.framepack.config import AutoencoderConfig, TransformerConfig
from reelwright.families.framepack.key_maps import AUTOENCODER_LAYOUTS, TRANSFORMER_LAYOUTS
from reelwright.families.framepack.tiny import write_model
from reelwright.families.framepack.transformer import FramePackTransformer

EMBEDDED = Path(reelwright.__file__).parent / "assets" / "framepack-tiny"


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("written")
    write_model(folder)
    return folder


def content(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_same_arguments_give_the_same_bytes(written, tmp_path):
    write_model(tmp_path)
    assert content(tmp_path) == content(written)


def test_another_seed_changes_the_weights_alone(written, tmp_path):
    write_model(tmp_path, seed=1)
    first, second = content(written), content(tmp_path)
    assert first.keys() == second.keys()
    changed = {path.name for path in first if first[path] != second[path]}
    assert changed == {"diffusion_pytorch_model.safetensors", "model.safetensors"}


def test_the_random_state_of_the_caller_is_left_alone(tmp_path):
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    write_model(tmp_path)
    assert torch.equal(torch.rand(1), expected)


def test_the_direction_is_written_beside_the_weights(tmp_path):
    write_model(tmp_path, direction="forward")
    facts = json.loads((tmp_path / "reelwright.json").read_text())
    assert facts["direction"] == "forward"
    assert facts["weights"] == "random"


@pytest.mark.parametrize("which", ["written", "embedded"])
def test_every_part_fits_its_network(written, which):
    folder = written if which == "written" else EMBEDDED
    with torch.device("meta"):
        transformer = FramePackTransformer(
            read_settings(TransformerConfig, folder / "transformer" / "config.json")
        )
        autoencoder = FramePackAutoencoder(read_settings(AutoencoderConfig, folder / "vae" / "config.json"))
    check_network(transformer, folder / "transformer", TRANSFORMER_LAYOUTS)
    check_network(autoencoder, folder / "vae", AUTOENCODER_LAYOUTS)
    llama, clip, siglip = LlamaText(folder, folder), ClipText(folder, folder), SiglipImage(folder)
    for encoder in (llama, clip, siglip):
        encoder.check()
    widths = (llama.width, clip.width, siglip.width)
    config = transformer.config
    assert widths == (config.text_embed_dim, config.pooled_projection_dim, config.image_proj_dim)


def test_the_embedded_model_is_small_and_of_half_precision():
    assert sum(len(data) for data in content(EMBEDDED).values()) < 25_000_000
    for part in ("transformer", "vae", "text_encoder", "text_encoder_2", "image_encoder"):
        with open_tensors(EMBEDDED / part) as source:
            assert {source.dtype(name) for name in source.names()} == {torch.float16}


def test_any_text_can_be_spelled(written):
    """Bytes that no word has are tokens of their own, within a word and at its end."""
    llama, clip = LlamaText(written, written), ClipText(written, written)
    end = json.loads((written / "tokenizer_2" / "vocab.json").read_text())["<|endoftext|>"]
    reader = transformers.PreTrainedTokenizerFast.from_pretrained(written / "tokenizer")
    for start in range(1, 700, 30):
        prompt = "".join(chr(code) for code in range(start, start + 30)) + "あ🦊"
        assert reader.decode(llama.tokenize(prompt)[0][95:-1]) == prompt
        ids, _ = clip.tokenize(prompt[:20])
        assert end not in ids[1 : ids.index(end)]
        assert ids.index(end) > 1
