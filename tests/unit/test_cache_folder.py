"""Cache files: whole or absent, and damage of any kind is told."""

import json
import threading

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file

from reelwright.core.errors import FileError, NumericsError
from reelwright.data.cache_folder import CacheFolder, fingerprint_of
from reelwright.protocols.caching import CacheFile

TENSORS = {
    "latents_2x3x4_float16": torch.arange(24.0).reshape(1, 2, 3, 4).half(),
    "latent_indices_int64": torch.arange(3),
    "llama_attention_mask": torch.tensor([True, False]),
}
NAME = "a cat_00000-037-0000_0064x0048_fp.safetensors"
SHARED = {"suppress_health_check": [HealthCheck.function_scoped_fixture], "deadline": None}


def cache_file(name: str = NAME, **tensors: torch.Tensor) -> CacheFile:
    return CacheFile(name=name, tensors=tensors or TENSORS, metadata={"architecture": "x", "width": "64"})


@pytest.fixture(params=["path", "url", "file-url"])
def folder(request, tmp_path):
    if request.param == "path":
        return CacheFolder(str(tmp_path / "new" / "cache"))
    if request.param == "file-url":
        return CacheFolder(f"file://{tmp_path}/cache")
    pytest.importorskip("fsspec")
    return CacheFolder(f"memory://{tmp_path.name}/cache")


def test_what_is_written_is_read(folder):
    folder.write(cache_file(), "of a cat")
    tensors, metadata = folder.read(NAME)
    assert tensors.keys() == TENSORS.keys()
    assert all(torch.equal(tensors[key], TENSORS[key]) for key in TENSORS)
    assert all(tensors[key].dtype == TENSORS[key].dtype for key in TENSORS)
    assert metadata["architecture"] == "x"
    assert folder.fingerprint(NAME) == metadata["reelwright_fingerprint"] == "of a cat"
    assert folder.names() == [NAME]


def test_a_file_takes_the_place_of_another_and_is_removed(folder):
    folder.write(cache_file(), "old")
    folder.write(cache_file(latents=torch.ones(2)), "new")
    assert folder.fingerprint(NAME) == "new"
    assert list(folder.read(NAME)[0]) == ["latents"]
    folder.remove(NAME)
    assert (folder.names(), folder.fingerprint(NAME)) == ([], None)
    with pytest.raises(FileError, match="a cat"):
        folder.read(NAME)


def test_other_programs_read_what_is_written(tmp_path):
    CacheFolder(str(tmp_path)).write(cache_file(), "x")
    with safe_open(tmp_path / NAME, "pt") as file:
        assert file.metadata()["width"] == "64"
        assert torch.equal(file.get_tensor("latent_indices_int64"), torch.arange(3))
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


def test_equal_content_gives_equal_bytes(tmp_path):
    for name in ("one", "two"):
        CacheFolder(str(tmp_path / name)).write(cache_file(), "x")
    assert (tmp_path / "one" / NAME).read_bytes() == (tmp_path / "two" / NAME).read_bytes()


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float8_e5m2], ids=str)
def test_what_is_no_number_is_never_written(tmp_path, value, dtype):
    tensor = torch.tensor([1.0, float(value)]).to(dtype)
    with pytest.raises(NumericsError, match=r"a cat.*1 of 2 values of latents are NaN or infinite"):
        CacheFolder(str(tmp_path)).write(cache_file(latents=tensor), "x")
    assert [path.name for path in tmp_path.iterdir()] == []


@pytest.mark.parametrize("name", ["", ".", "..", "a/b.safetensors", "../a.safetensors", "a\\b", "a\0b"])
def test_no_name_leads_out_of_the_folder(tmp_path, name):
    folder = CacheFolder(str(tmp_path))
    with pytest.raises(FileError, match="is no name of a file"):
        folder.write(cache_file(name), "x")
    with pytest.raises(FileError, match="is no name of a file"):
        folder.read(name)


@settings(max_examples=60, **SHARED)
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), cut=st.booleans())
def test_damage_is_told_or_changes_no_tensor(tmp_path, place, bit, cut):
    folder = CacheFolder(str(tmp_path))
    folder.write(cache_file(), "x")
    content = bytearray((tmp_path / NAME).read_bytes())
    position = int(place * len(content))
    content[position] ^= 1 << bit
    (tmp_path / NAME).write_bytes(content[:position] if cut else content)
    if cut:
        assert folder.fingerprint(NAME) is None
    try:
        tensors, _ = folder.read(NAME)
    except FileError as error:
        assert NAME in str(error)
    else:
        assert not cut
        # A changed bit in free text changes no tensor.
        assert tensors.keys() == TENSORS.keys()
        assert all(torch.equal(tensors[key], TENSORS[key]) for key in TENSORS)


def test_a_changed_bit_of_a_value_is_told(tmp_path):
    folder = CacheFolder(str(tmp_path))
    folder.write(cache_file(), "x")
    content = bytearray((tmp_path / NAME).read_bytes())
    content[-1] ^= 1
    (tmp_path / NAME).write_bytes(content)
    with pytest.raises(FileError, match="damaged"):
        folder.read(NAME)


@settings(max_examples=150, **SHARED)
@given(content=st.binary(max_size=60), length=st.none() | st.integers(0, 2**64 - 1))
def test_no_bytes_make_a_fingerprint_of_strangers(tmp_path, content, length):
    header = b"" if length is None else length.to_bytes(8, "little")
    (tmp_path / NAME).write_bytes(header + content)
    folder = CacheFolder(str(tmp_path))
    assert folder.fingerprint(NAME) is None
    with pytest.raises(FileError):
        folder.read(NAME)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=100, **SHARED)
@given(header=st.dictionaries(st.sampled_from(["__metadata__", "a", "b"]), json_values) | json_values)
def test_headers_of_any_form_are_no_crash(tmp_path, header):
    text = json.dumps(header).encode()
    (tmp_path / NAME).write_bytes(len(text).to_bytes(8, "little") + text)
    assert CacheFolder(str(tmp_path)).fingerprint(NAME) is None


def test_a_file_of_another_program_is_read_and_told_by_what_it_holds(tmp_path):
    folder = CacheFolder(str(tmp_path))
    save_file({"latents": torch.ones(2)}, tmp_path / "a.safetensors", {"architecture": "other"})
    save_file({"latents": torch.zeros(2)}, tmp_path / "b.safetensors", {"architecture": "other"})
    assert folder.fingerprint("a.safetensors") is None
    marks = [fingerprint_of(*folder.read(name)) for name in folder.names()]
    assert len(set(marks)) == 2
    (tmp_path / "c.safetensors").write_bytes((tmp_path / "a.safetensors").read_bytes())
    assert fingerprint_of(*folder.read("c.safetensors")) == marks[0]


def test_only_whole_files_are_listed(tmp_path):
    folder = CacheFolder(str(tmp_path))
    folder.write(cache_file(), "x")
    for name in ("clip.mp4", "clip.txt", ".0123456789ab.safetensors", ".reelwright-x.sqlite"):
        (tmp_path / name).write_text("x")
    (tmp_path / "folder.safetensors").mkdir()
    assert folder.names() == [NAME]
    assert CacheFolder(str(tmp_path / "absent")).names() == []


def test_writers_of_one_file_leave_one_whole_file(tmp_path):
    folder = CacheFolder(str(tmp_path))
    contents = [torch.full((1000,), float(value)) for value in range(8)]
    writers = [
        threading.Thread(target=folder.write, args=(cache_file(latents=values), f"{int(values[0])}"))
        for values in contents
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    tensors, metadata = folder.read(NAME)
    assert float(tensors["latents"][0]) == float(metadata["reelwright_fingerprint"])
    assert [path.name for path in tmp_path.iterdir()] == [NAME]
