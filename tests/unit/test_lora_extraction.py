"""LoRAs of the difference of two models: exact where that has a low rank, the nearest one elsewhere."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from reelwright.adapters.combination import load_adapters
from reelwright.adapters.exports import export
from reelwright.adapters.extraction import extract, open_pair, other_changes
from reelwright.adapters.factors import Adapter
from reelwright.adapters.formats import read_adapter
from reelwright.adapters.learning.adapter_trainables import adapter_trainables
from reelwright.core.errors import CheckpointError
from reelwright.protocols.train_configs import AdapterConfig

from .lora_networks import SUBJECTS, Draw, Subject, largest_difference, save

CONTROL = SUBJECTS["cogvideox"]
PACKED = SUBJECTS["framepack"]
TARGETS = [subject.targets for subject in SUBJECTS.values()]
CPU = torch.device("cpu")
TOLERANCE = 5e-6
"""Of float32: a sum and difference of weights up to 1 are wrong by 1e-7, matrices of norm 5 by 1e-6."""


def write_model(subject: Subject, path: Path, network: torch.nn.Module | None = None) -> Path:
    network = network or subject.build()
    return save(path, subject.key_map.to_file(network.state_dict()))


def extracted(base: Path, tuned: Path, rank: int) -> tuple[dict[str, Adapter], float]:
    """The adapters, and how much of the change they hold."""
    with open_pair(base, tuned, TARGETS) as pair:
        found = list(extract(pair, rank, CPU))
    change, kept = (sum(getattr(each, name) ** 2 for each in found) for name in ("change", "kept"))
    return {each.module: each.adapter for each in found if each.adapter}, (kept / change) ** 0.5


@pytest.mark.parametrize("subject", SUBJECTS.values(), ids=SUBJECTS)
def test_what_was_learned_comes_back_out_of_a_merged_model(subject: Subject, tmp_path: Path):
    config = AdapterConfig(rank=3, alpha=2.0, targets="all", include=(r"patch_embedding\..*",))
    trainables = adapter_trainables(
        subject.build(), subject.targets, config, "lora", layout="native", dtype=torch.float32, seed=0
    )
    draw = Draw(3)
    values = {name: draw(*tensor.shape) / 5 for name, tensor in trainables.tensors().items()}
    list(trainables.save(tmp_path / "learned", values, {}))
    learned = tmp_path / "learned.safetensors"
    network = subject.build()
    subject.plan(learned).apply(network)
    base = write_model(subject, tmp_path / "base.safetensors")
    merged = write_model(subject, tmp_path / "merged.safetensors", network)

    adapters, kept = extracted(base, merged, 3)
    before = load_adapters(read_adapter(learned, subject.targets))
    assert kept == pytest.approx(1.0, abs=1e-5)
    assert (
        largest_difference(
            {name: adapter.delta() for name, adapter in adapters.items()},
            {name: adapter.delta() for name, adapter in before.items()},
        )
        < TOLERANCE
    )
    made = export(adapters, subject.targets, "native", {})
    again = save(tmp_path / "again.safetensors", made.tensors, made.metadata)
    assert largest_difference(subject.changes(again), subject.changes(learned)) < TOLERANCE


def test_the_nearest_one_of_its_rank_is_taken(tmp_path: Path):
    """Eckart and Young: what is left has the norm of the singular values that are left."""
    network, draw = CONTROL.build(), Draw(1)
    deltas: dict[str, Tensor] = {}
    with torch.no_grad():
        for name in ("blocks.0.attention.query", "blocks.1.feed_forward.expand"):
            weight = network.get_parameter(f"{name}.weight")
            deltas[name] = draw(*weight.shape) / 10
            weight.add_(deltas[name])
    base = write_model(CONTROL, tmp_path / "base.safetensors")
    adapters, kept = extracted(base, write_model(CONTROL, tmp_path / "tuned.safetensors", network), 5)
    assert adapters.keys() == deltas.keys()
    squares = [torch.linalg.svdvals(delta.double()).square() for delta in deltas.values()]
    for adapter, delta, all_squares in zip(adapters.values(), deltas.values(), squares, strict=True):
        left = (adapter.delta() - delta).norm()
        assert float(left) == pytest.approx(float(all_squares[5:].sum().sqrt()), rel=1e-5)
    share = sum(each[:5].sum() for each in squares) / sum(each.sum() for each in squares)
    assert kept == pytest.approx(float(share.sqrt()), rel=1e-5)


def test_large_matrices_are_taken_apart_by_random_projections(tmp_path: Path, monkeypatch):
    """Not the same way, but to nearly the same end; and equally each time."""
    monkeypatch.setattr("reelwright.adapters.extraction._EXACT_SIDE", 0)
    draw = Draw(2)
    left, right = torch.linalg.qr(draw(96, 96))[0], torch.linalg.qr(draw(96, 96))[0]
    values = 1.2 ** -torch.arange(96.0)
    delta = left * values @ right.T
    from reelwright.adapters.extraction import _nearest

    first, state = _nearest(delta, 8, (96, 96)), torch.get_rng_state()
    second = _nearest(delta, 8, (96, 96))
    assert torch.equal(first.factors["up"], second.factors["up"])
    assert torch.equal(torch.get_rng_state(), state)
    error = float((first.delta() - delta).norm())
    assert error == pytest.approx(float(values[8:].square().sum().sqrt()), rel=1e-3)


def test_models_may_be_in_different_layouts_and_number_formats(tmp_path: Path):
    """Rounding alone is no change."""
    network = CONTROL.build()
    with torch.no_grad():
        network.get_parameter("blocks.0.attention.key.weight").mul_(1.5)
    sat = CONTROL.targets.layouts[1].key_map
    state = {name: tensor for name, tensor in network.state_dict().items() if sat.locate(name)}
    base = write_model(CONTROL, tmp_path / "base.safetensors")
    tuned = save(
        tmp_path / "tuned.safetensors",
        {name: tensor.bfloat16() for name, tensor in sat.to_file(state).items()},
    )
    adapters, _ = extracted(base, tuned, 16)
    assert list(adapters) == ["blocks.0.attention.key"]
    weight = CONTROL.build().get_parameter("blocks.0.attention.key.weight")
    assert (adapters["blocks.0.attention.key"].delta() - weight / 2).abs().max() < 2**-8


def test_what_no_lora_holds_is_named(tmp_path: Path):
    network = CONTROL.build()
    with torch.no_grad():
        network.get_parameter("blocks.0.attention.key.bias").add_(1)
    base = write_model(CONTROL, tmp_path / "base.safetensors")
    tuned = write_model(CONTROL, tmp_path / "tuned.safetensors", network)
    with open_pair(base, tuned, TARGETS) as pair:
        assert other_changes(pair) == ["transformer_blocks.0.attn1.to_k.bias"]
        assert not any(each.adapter for each in extract(pair, 2, CPU))


def test_models_that_do_not_fit_are_refused(tmp_path: Path):
    base = write_model(CONTROL, tmp_path / "base.safetensors")
    other = write_model(PACKED, tmp_path / "other.safetensors")
    tensors = load_file(base)
    name = "transformer_blocks.0.attn1.to_q.weight"
    tensors[name] = tensors[name] * torch.nan
    save_file(tensors, tmp_path / "damaged.safetensors")
    with pytest.raises(CheckpointError, match="the tensors do not fit this model"):
        extracted(base, other, 2)
    with pytest.raises(CheckpointError, match="query: the models differ by NaN"):
        extracted(base, tmp_path / "damaged.safetensors", 2)
