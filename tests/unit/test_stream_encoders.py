"""Text encoders whose layers come from their file one by one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn

from reelwright.checkpoint.rooms import Room
from reelwright.encoders.llama import LlamaText
from reelwright.encoders.pretrained import Pretrained
from reelwright.encoders.t5 import T5Text

CPU = torch.device("cpu")
NUM_LAYERS = 7


def _t5(folder: Path) -> Pretrained[Any, Any]:
    config = transformers.T5Config(
        vocab_size=50,
        d_model=32,
        d_kv=8,
        d_ff=64,
        num_layers=NUM_LAYERS,
        num_heads=4,
        feed_forward_proj="gated-gelu",
    )
    transformers.T5EncoderModel(config).half().save_pretrained(folder)
    return T5Text(folder, folder).encoder


def _llama(folder: Path) -> Pretrained[Any, Any]:
    config = transformers.LlamaConfig(
        vocab_size=50,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=NUM_LAYERS + 2,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    transformers.LlamaModel(config).half().save_pretrained(folder)
    return LlamaText(folder, folder).encoder


ENCODERS: dict[str, Callable[[Path], Pretrained[Any, Any]]] = {"t5": _t5, "llama": _llama}
STACKS = {"t5": "encoder.block", "llama": "layers"}


def _features(network: nn.Module, seed: int) -> Tensor:
    ids = torch.randint(0, 50, (1, 9), generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        return network(input_ids=ids).last_hidden_state


def _bytes_in_memory(module: nn.Module) -> int:
    storages = {each.untyped_storage().data_ptr(): each.untyped_storage() for each in module.parameters()}
    return sum(storage.nbytes() for storage in storages.values())


@pytest.mark.parametrize("kind", ENCODERS)
def test_layers_that_come_one_by_one_give_the_same_bytes_in_the_memory_of_two(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    encoder = ENCODERS[kind](tmp_path)
    plain = encoder.loaded(CPU, torch.float32)
    expected = [_features(plain, seed) for seed in (0, 1)]
    layers = list(plain.get_submodule(STACKS[kind]).children())
    largest = max(sum(p.nbytes for p in layer.parameters()) for layer in layers)
    encoder.release()
    encoder.is_streamed = True
    network = encoder.loaded(CPU, torch.float32)
    streamed = network.get_submodule(STACKS[kind])
    used: list[int] = []
    opened = Room.open

    def watch(room: Room) -> None:
        opened(room)
        used.append(_bytes_in_memory(streamed))

    monkeypatch.setattr(Room, "open", watch)
    for seed in (0, 1):
        assert torch.equal(_features(network, seed), expected[seed])
    # Each tensor of a closed room is one number.
    assert len(layers) == NUM_LAYERS
    assert len(used) == 2 * NUM_LAYERS
    assert largest < max(used) < 2.5 * largest
    assert _bytes_in_memory(streamed) < 0.1 * largest


@pytest.mark.parametrize("kind", ENCODERS)
def test_what_comes_from_the_file_is_released_even_where_encoders_are_kept(kind: str, tmp_path: Path) -> None:
    encoder = ENCODERS[kind](tmp_path)
    encoder.is_streamed = encoder.is_kept = True
    encoder.loaded(CPU, torch.float32)
    encoder.release()
    assert encoder.network is None


def test_half_precision_keeps_what_would_overflow(tmp_path: Path) -> None:
    encoder = _t5(tmp_path)
    encoder.is_streamed = True
    formats = {name: p.dtype for name, p in encoder.loaded(CPU, torch.float16).named_parameters()}
    assert formats["encoder.block.3.layer.1.DenseReluDense.wo.weight"] == torch.float32
    assert formats["encoder.block.3.layer.0.SelfAttention.q.weight"] == torch.float16
