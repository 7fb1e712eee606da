"""Two-way name maps: what a rule says, and what is refused."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reelwright.checkpoint.key_map import Found, KeyMap, Located, Rule, same_names
from reelwright.core.errors import CheckpointError

FUSED = KeyMap(
    name="fused",
    rules=(
        Rule("blocks.{n}.query.*", "layers.{n}.qkv.*", parts=(0,), of=3),
        Rule("blocks.{n}.key.*", "layers.{n}.qkv.*", parts=(1,), of=3),
        Rule("blocks.{n}.value.*", "layers.{n}.qkv.*", parts=(2,), of=3),
        Rule("table", "positions"),
    ),
    dropped=("loss.*", "*.freqs"),
    prefixes=("model.", "module."),
)


def test_a_name_is_found_in_both_directions():
    assert FUSED.locate("blocks.12.key.bias") == Located("layers.12.qkv.bias", (1,), 3)
    assert FUSED.locate("table") == Located("positions")
    assert FUSED.find("positions") == [Found("table", (0,), 1)]
    assert [found.ours for found in FUSED.find("layers.3.qkv.weight")] == [
        "blocks.3.query.weight",
        "blocks.3.key.weight",
        "blocks.3.value.weight",
    ]


@pytest.mark.parametrize(
    "name", ["blocks.x.key.bias", "blocks.1.key.scale", "blocks.1.key", "xtable", "table.1"]
)
def test_a_name_that_no_rule_covers_is_not_found(name):
    assert FUSED.locate(name) is None


def test_a_dot_in_a_template_stands_for_a_dot_only():
    assert FUSED.find("layers.3xqkv.weight") == []


@given(
    blocks=st.integers(1, 3),
    rows=st.integers(1, 4),
    prefix=st.sampled_from(["", "model.", "module."]),
    seed=st.integers(0, 2**16),
)
def test_tensors_go_there_and_back_unchanged(blocks, rows, prefix, seed):
    generator = torch.Generator().manual_seed(seed)
    file = {"positions": torch.randn(1, 5, generator=generator)}
    for n in range(blocks):
        file[f"layers.{n}.qkv.weight"] = torch.randn(3 * rows, 2, generator=generator)
        file[f"layers.{n}.qkv.bias"] = torch.randn(3 * rows, generator=generator)
    ours = FUSED.to_ours({prefix + name: tensor for name, tensor in file.items()})
    back = FUSED.to_file(ours)
    assert set(back) == set(file)
    assert all(torch.equal(back[name], file[name]) for name in file)


def test_chunks_are_taken_in_the_order_of_the_rule():
    layout = KeyMap(
        name="interleaved",
        rules=(Rule("a.*", "ab.*", parts=(0, 2), of=4), Rule("b.*", "ab.*", parts=(3, 1), of=4)),
    )
    ours = layout.to_ours({"ab.weight": torch.arange(8)})
    assert ours["a.weight"].tolist() == [0, 1, 4, 5]
    assert ours["b.weight"].tolist() == [6, 7, 2, 3]
    assert layout.to_file(ours)["ab.weight"].tolist() == list(range(8))


def test_dropped_tensors_do_not_disturb():
    assert FUSED.to_ours({"loss.weight": torch.zeros(1), "rope.freqs": torch.zeros(1)}) == {}


def test_an_unknown_tensor_of_a_file_is_named():
    with pytest.raises(CheckpointError, match=r"foo\.weight.*fused"):
        FUSED.to_ours({"foo.weight": torch.zeros(1)})


def test_rows_that_cannot_be_cut_are_refused():
    with pytest.raises(CheckpointError, match="4 rows cannot be cut into 3"):
        FUSED.to_ours({"layers.0.qkv.bias": torch.zeros(4)})


def test_two_rules_for_one_name_are_an_error():
    layout = KeyMap(name="twice", rules=(Rule("a.{n}", "b.{n}"), Rule("a.0", "c")))
    with pytest.raises(ValueError, match=r"a\.0 is claimed by several rules"):
        layout.locate("a.0")


def test_two_tensors_for_one_name_are_an_error():
    layout = KeyMap(name="twice", rules=(Rule("a", "b"), Rule("a", "c")))
    with pytest.raises(ValueError, match="several tensors"):
        layout.to_ours({"b": torch.zeros(1), "c": torch.zeros(1)})


def test_a_fused_tensor_needs_all_its_parts():
    with pytest.raises(ValueError, match=r"chunks \[1, 2\] of layers.0.qkv.bias"):
        FUSED.to_file({"blocks.0.query.bias": torch.zeros(2)})


def test_our_unknown_name_is_refused():
    with pytest.raises(ValueError, match="no place in the layout fused"):
        FUSED.to_file({"nothing": torch.zeros(1)})


def test_same_names_map_to_themselves():
    layout = KeyMap(name="same", rules=same_names(["a.{n}.*", "b"]))
    assert layout.locate("a.4.bias") == Located("a.4.bias")
    assert layout.locate("b") == Located("b")
