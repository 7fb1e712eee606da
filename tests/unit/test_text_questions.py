"""What text encoders are asked: which tokens count, what is hidden; that they learn, and are saved whole."""

import math
from importlib.resources import files
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F
from transformers import CLIPTextModel, LlamaModel, T5EncoderModel

from reelwright.checkpoint.settings_files import write_json
from reelwright.encoders.clip import ClipText
from reelwright.encoders.llama import LlamaText
from reelwright.encoders.t5 import T5Text
from reelwright.encoders.text_learning import LearnedText, learned_clip, learned_llama, learned_t5

ASSETS = Path(str(files("reelwright") / "assets"))
CAPTIONS = ("a red circle moves left", "a blue square on gray, which moves right and up")
NUM_TOKENS = 20


@pytest.fixture(scope="module")
def texts() -> dict[str, LearnedText]:
    """The text encoders of the embedded models."""
    framepack, cogvideox = ASSETS / "framepack-tiny", ASSETS / "cogvideox-tiny"
    t5 = T5Text(cogvideox / "text_encoder", cogvideox / "tokenizer")
    return {
        "llama": learned_llama(LlamaText(framepack, framepack)),
        "clip": learned_clip(ClipText(framepack, framepack)),
        "t5": learned_t5(t5, NUM_TOKENS, 0.3),
    }


def rows(text: LearnedText, captions: tuple[str, ...] = CAPTIONS) -> list[torch.Tensor]:
    return [torch.tensor(text.tokenize(caption)) for caption in captions]


def generators(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def read_back(text: LearnedText, learner: torch.nn.Module, place: Path, kind: type) -> torch.nn.Module:
    """The network of the files that are saved, as transformers alone reads them."""
    tensors = {name: each.detach().clone() for name, each in learner.named_parameters()}
    place.mkdir()
    save_file(text.files(tensors), place / "model.safetensors", metadata={"format": "pt"})
    write_json(place / "config.json", text.settings())
    return kind.from_pretrained(place).eval()


def test_a_decoder_is_asked_for_each_token_of_the_prompt_alone(texts, tmp_path):
    text = texts["llama"]
    learner = text.open(None).eval()
    found = learner(rows(text), [])
    network = read_back(text, learner, tmp_path / "llama", LlamaModel)
    begin = len(text.tokenize("")) - 1  # the instruction, without the token that ends a prompt
    for row, loss in zip(rows(text), found, strict=True):
        states = network(input_ids=row[None]).last_hidden_state[0]
        logits = states @ network.embed_tokens.weight.T
        expected = F.cross_entropy(logits[begin - 1 : -1], row[begin:])
        torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-5)


def test_one_vector_is_asked_for_all_tokens_of_the_prompt(texts, tmp_path):
    text = texts["clip"]
    learner = text.open(None).eval()
    found = learner(rows(text), [])
    network = read_back(text, learner, tmp_path / "clip", CLIPTextModel)
    first, last = rows(text)[0][0], rows(text)[0][-1]
    for row, loss in zip(rows(text), found, strict=True):
        logits = network(input_ids=row[None]).pooler_output[0] @ network.get_input_embeddings().weight.T
        words = row[(row != first) & (row != last)]
        expected = -F.log_softmax(logits, 0)[words].mean()
        torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-5)


def test_hidden_tokens_are_asked_for_and_no_others(texts, tmp_path):
    text = texts["t5"]
    learner = text.open(None).eval()
    network = read_back(text, learner, tmp_path / "t5", T5EncoderModel)
    seen: list[torch.Tensor] = []
    hook = learner.network.register_forward_pre_hook(
        lambda _module, _args, said: seen.append(said["input_ids"]), with_kwargs=True
    )
    found = learner(rows(text), generators(3, 4))
    hook.remove()
    weight = network.shared.weight
    for row, read, loss in zip(rows(text), seen[0], found, strict=True):
        hidden = read == len(weight) - 1
        assert hidden.any()
        assert not (hidden & (row == 0)).any()
        assert torch.equal(read[~hidden], row[~hidden])
        logits = network(input_ids=read[None]).last_hidden_state[0] @ weight.T / math.sqrt(weight.shape[1])
        torch.testing.assert_close(loss, F.cross_entropy(logits[hidden], row[hidden]), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["llama", "clip", "t5"])
def test_a_caption_comes_to_the_same_beside_any_other(texts, name):
    text = texts[name]
    learner = text.open(None).eval()
    together = learner(rows(text), generators(3, 4))
    alone = [learner([row], [each]) for row, each in zip(rows(text), generators(3, 4), strict=True)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["llama", "clip", "t5"])
def test_all_that_decides_answers_learns(texts, name):
    """But for CLIP's places that no caption reaches, every parameter has a gradient; and the loss falls."""
    text = texts[name]
    learner = text.open(7)
    optimizer = torch.optim.Adam(learner.parameters(), lr=3e-3)
    losses: list[float] = []
    for _ in range(12):
        loss = learner(rows(text), generators(3, 4)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert all(each.grad is not None for each in learner.parameters())
    assert losses[-1] < 0.8 * losses[0]


def test_drawn_weights_follow_from_the_seed(texts):
    text = texts["clip"]
    first, again, other = (next(text.open(seed).parameters()) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
