"""The cache of encoded data: what goes in comes out, or nothing does."""

import hashlib
import itertools

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reelwright.checkpoint.safetensors_io import read_safetensors_metadata
from reelwright.core.errors import FileError
from reelwright.data.cache_store import CacheStore, content_key

TENSORS = {
    "features": torch.arange(24.0).reshape(4, 6).bfloat16(),
    "turned": torch.arange(6).reshape(2, 3).T,
    "empty": torch.zeros(0, 2),
}
KEY = content_key(prompt="a cat")


def test_what_is_put_is_got(tmp_path):
    CacheStore(tmp_path / "new").put(KEY, TENSORS, {"prompt": "a cat"})
    found = CacheStore(tmp_path / "new").get(KEY)
    assert set(found) == set(TENSORS)
    assert all(torch.equal(found[name], TENSORS[name]) for name in TENSORS)
    assert all(found[name].dtype == TENSORS[name].dtype for name in TENSORS)
    (path,) = (tmp_path / "new").rglob("*.safetensors")
    assert read_safetensors_metadata(path)["prompt"] == "a cat"


def test_an_unknown_key_finds_nothing(tmp_path):
    store = CacheStore(tmp_path / "absent")
    assert store.get(KEY) is None
    store.put(KEY, TENSORS)
    assert store.get(content_key(prompt="a dog")) is None


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), cut=st.booleans())
def test_a_damaged_entry_is_absent_and_can_be_replaced(tmp_path, place, bit, cut):
    store = CacheStore(tmp_path)
    store.put(KEY, TENSORS)
    (path,) = tmp_path.rglob("*.safetensors")
    content = bytearray(path.read_bytes())
    position = int(place * len(content))
    content[position] ^= 1 << bit
    path.write_bytes(content[:position] if cut else content)
    found = store.get(KEY)
    # A changed bit in the padding or in free text of the header changes no tensor.
    assert found is None or all(torch.equal(found[name], TENSORS[name]) for name in TENSORS)
    store.put(KEY, {"other": torch.ones(1)})
    assert store.get(KEY)["other"] == 1


def test_a_changed_bit_of_a_tensor_is_noticed(tmp_path):
    store = CacheStore(tmp_path)
    store.put(KEY, TENSORS)
    (path,) = tmp_path.rglob("*.safetensors")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert store.get(KEY) is None


@pytest.mark.parametrize("content", [b"", b"\xff" * 5, b"\xff" * 9, b"\x02" + bytes(7) + b"[]"])
def test_an_entry_that_is_no_file_of_tensors_is_absent(tmp_path, content):
    store = CacheStore(tmp_path)
    store.put(KEY, TENSORS)
    (path,) = tmp_path.rglob("*.safetensors")
    path.write_bytes(content)
    assert store.get(KEY) is None


@pytest.mark.parametrize("key", ["", "../../secret", "a" * 63, "A" * 64, "a" * 64 + "\n"])
def test_only_keys_of_our_making_are_taken(tmp_path, key):
    with pytest.raises(ValueError, match="no key"):
        CacheStore(tmp_path).get(key)
    with pytest.raises(ValueError, match="no key"):
        CacheStore(tmp_path).put(key, TENSORS)


def test_a_disk_that_refuses_is_reported(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(FileError, match="cannot be written"):
        CacheStore(tmp_path / "file").put(KEY, TENSORS)


def test_the_key_is_the_hash_of_canonical_json():
    """Stored caches stay valid only while this holds."""
    expected = hashlib.sha256('{"b":[1,2.5,null],"prompt":"é"}'.encode()).hexdigest()
    assert content_key(prompt="é", b=[1, 2.5, None]) == expected


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(facts=st.dictionaries(st.sampled_from("abcd"), json_values, min_size=2))
def test_the_order_of_facts_does_not_matter(facts):
    keys = {content_key(**dict(order)) for order in itertools.permutations(facts.items())}
    assert len(keys) == 1


def test_different_facts_give_different_keys():
    facts = [{"a": 1}, {"a": "1"}, {"a": 1.5}, {"a": None}, {"b": 1}, {"a": [1]}, {"a": 1, "b": 1}, {}]
    assert len({content_key(**each) for each in facts}) == len(facts)


@pytest.mark.parametrize("value", [torch.ones(1), float("nan"), object(), {1, 2}, b"bytes"])
def test_facts_whose_text_would_not_tell_them_apart_are_misuse(value):
    with pytest.raises((TypeError, ValueError)):
        content_key(value=value)


def test_what_was_made_once_is_not_made_again(tmp_path):
    store = CacheStore(tmp_path)
    made = []

    def make():
        made.append(torch.rand(3))
        return made[-1]

    first = store.get_or_make(KEY, make, {"prompt": "a cat"})
    assert torch.equal(store.get_or_make(KEY, make), first)
    assert len(made) == 1
    store.put(KEY, {"other": torch.ones(1)})
    assert not torch.equal(store.get_or_make(KEY, make), first)


def test_what_is_made_is_given_even_where_it_cannot_be_kept(tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    store = CacheStore(tmp_path / "cache")
    assert store.get_or_make(KEY, lambda: torch.ones(2)).tolist() == [1, 1]
