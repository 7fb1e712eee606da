"""Files of weights: any released form opens, anything else is named for what it is."""

import errno
import json
import os
import pickle
import signal
import struct
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reelwright.checkpoint.safetensors_io import (
    fingerprint,
    open_tensors,
    read_safetensors_metadata,
    save_safetensors,
    save_sharded,
)
from reelwright.core.errors import CheckpointError, FileError

from .released_files import sparse_safetensors

DTYPES = (
    torch.float32, torch.bfloat16, torch.float16, torch.float64, torch.float8_e4m3fn, torch.float8_e5m2,
    torch.int64, torch.int32, torch.uint8, torch.bool,
)  # fmt: skip


def tensors(seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    named = {
        f"{dtype}".removeprefix("torch."): torch.randn(3, 4, generator=generator).abs().to(dtype)
        for dtype in DTYPES
    }
    return {**named, "scalar": torch.tensor(2.5), "empty": torch.zeros(0, 3)}


def same(left: torch.Tensor, right: torch.Tensor) -> bool:
    if left.dtype != right.dtype or left.shape != right.shape:
        return False
    return torch.equal(
        left.contiguous().reshape(-1).view(torch.uint8), right.contiguous().reshape(-1).view(torch.uint8)
    )


def read_all(path: Path) -> dict[str, torch.Tensor]:
    with open_tensors(path) as source:
        return {name: source.read(name) for name in source.names()}


def assert_same(left, right) -> None:
    assert set(left) == set(right)
    assert all(same(left[name], right[name]) for name in left)


def message_of(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        open_tensors(path)
    message = str(caught.value)
    assert str(path) in message or str(path.parent) in message
    return message


def test_every_number_format_reads_as_the_reference_library_reads_it(tmp_path):
    path = tmp_path / "a.safetensors"
    safetensors.torch.save_file(tensors(), path, metadata={"note": "ünïcode"})
    assert_same(read_all(path), tensors())
    assert read_safetensors_metadata(path) == {"note": "ünïcode"}


def test_files_are_byte_for_byte_those_of_the_reference_library(tmp_path):
    ours, theirs = tmp_path / "ours.safetensors", tmp_path / "theirs.safetensors"
    save_safetensors(ours, tensors())
    safetensors.torch.save_file(tensors(), theirs, metadata={"format": "pt"})
    assert ours.read_bytes() == theirs.read_bytes()


def test_a_view_with_strides_is_saved_as_it_looks(tmp_path):
    view = torch.arange(12.0).reshape(3, 4).T[1:]
    save_safetensors(tmp_path / "a.safetensors", {"view": view}, {"b": "2", "a": "1"})
    assert_same(safetensors.torch.load_file(tmp_path / "a.safetensors"), {"view": view})
    assert read_safetensors_metadata(tmp_path / "a.safetensors") == {"a": "1", "b": "2", "format": "pt"}


SAVE = """
    import sys, torch
    from pathlib import Path
    from reelwright.checkpoint.safetensors_io import save_safetensors
    keys = ["b", "a", "é", "d\\t", "c"]
    texts = {key: f"ü {key} \\x00\\x1f\\x7f\\n\\"\\\\ \\u2028 \\U0001f3ac" for key in keys}
    for number in range(4):
        path = Path(sys.argv[1]) / f"{sys.argv[2]}{number}.safetensors"
        save_safetensors(path, {"ü": torch.ones(3), "a": torch.zeros(2, 2).half()}, texts)
"""


def test_equal_content_gives_equal_bytes_in_any_process(tmp_path):
    for process in "xy":
        subprocess.run([sys.executable, "-c", textwrap.dedent(SAVE), tmp_path, process], check=True)
    paths = sorted(tmp_path.iterdir())
    assert len(paths) == 8
    assert len({path.read_bytes() for path in paths}) == 1
    with safetensors.safe_open(paths[0], "pt") as file:
        assert list(file.metadata()["d\t"]) == list('ü d\t \x00\x1f\x7f\n"\\ \u2028 \U0001f3ac')
        assert torch.equal(file.get_tensor("ü"), torch.ones(3))


def test_tensors_that_share_memory_are_saved_each_as_it_looks(tmp_path):
    whole = torch.arange(12.0).reshape(4, 3)
    shared = {"whole": whole, "again": whole, "rows": whole[1:3], "column": whole[:, 1]}
    save_safetensors(tmp_path / "a.safetensors", shared)
    assert_same(read_all(tmp_path / "a.safetensors"), shared)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")
def test_a_saved_file_may_be_read_by_whom_the_system_lets_read_new_files(tmp_path):
    save_safetensors(tmp_path / "a.safetensors", {"a": torch.ones(1)})
    (tmp_path / "plain").touch()
    assert (tmp_path / "a.safetensors").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_what_the_system_refuses_is_told_by_its_own_number_and_nothing_is_left(tmp_path):
    resource = pytest.importorskip("resource")
    before, restore = resource.getrlimit(resource.RLIMIT_FSIZE), signal.getsignal(signal.SIGXFSZ)
    try:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # the write then fails, as it does on a full disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
        with pytest.raises(FileError, match="File too large") as caught:
            save_safetensors(tmp_path / "a.safetensors", {"a": torch.ones(1000)})
        assert isinstance(caught.value.__cause__, OSError)
        assert caught.value.__cause__.errno == errno.EFBIG
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, restore)
    assert not list(tmp_path.iterdir())


def test_tensors_at_odd_places_are_read(tmp_path):
    path = tmp_path / "a.safetensors"
    wanted = {"flag": torch.tensor([True]), "values": torch.randn(1000), "half": torch.randn(33).half()}
    fields, data = {}, b""
    for (name, tensor), number_format in zip(wanted.items(), ("BOOL", "F32", "F16"), strict=True):
        place = [len(data), len(data) + tensor.nbytes]
        fields[name] = {"dtype": number_format, "shape": [len(tensor)], "data_offsets": place}
        data += tensor.numpy().tobytes()
    text = json.dumps(fields).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    assert_same(read_all(path), wanted)


def test_a_file_larger_than_the_memory_is_read_where_it_is_asked_for(tmp_path):
    path = sparse_safetensors(tmp_path / "a.safetensors", {"first": (3,), "x": (1 << 19, 1 << 20)}, "F16")
    with path.open("r+b") as file:
        file.seek(-4, os.SEEK_END)
        file.write(torch.tensor([1.5, -2.0], dtype=torch.float16).numpy().tobytes())
    with open_tensors(path) as source:
        run = torch.empty(3, dtype=torch.float16)
        source.read_into("x", (1 << 39) - 3, run)
    assert run.tolist() == [0.0, 1.5, -2.0]


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path):
    path = tmp_path / "a.safetensors"
    large = {name: torch.zeros(3 << 20) for name in "ab"}
    save_safetensors(path, large)
    with open_tensors(path) as source:
        assert_same({"a": source.read("a")}, {"a": large["a"]})
        save_safetensors(path, {name: tensor + 1 for name, tensor in large.items()})
        with pytest.raises(CheckpointError, match="changed while it was read"):
            source.read("b")


def test_a_run_of_elements_is_read_alone(tmp_path):
    values = torch.randn(7, 11)
    for path, save in (
        (tmp_path / "a.safetensors", lambda path: save_safetensors(path, {"a": torch.ones(3), "x": values})),
        (tmp_path / "a.pt", lambda path: torch.save({"x": values}, path)),
    ):
        save(path)
        with open_tensors(path) as source:
            assert source.shape("x") == (7, 11)
            run = torch.empty(55)
            source.read_into("x", 5, run)
            assert torch.equal(run, values.reshape(-1)[5:60])


@pytest.mark.parametrize(
    "wrap", [(), ("model",), ("module",), ("state_dict",), ("model", "module", "state_dict")]
)
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_pytorch_files_open_whatever_their_containers(tmp_path, wrap, zipped):
    wanted = {"a": torch.randn(3, 4), "b.weight": torch.randn(4, 3).T.bfloat16()}
    content: dict = {**wanted, "iteration": 7}
    for key in reversed(wrap):
        content = {key: content, "optimizer": {"x": torch.zeros(2)}}
    path = tmp_path / "model.pt"
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    assert_same(read_all(path), wanted)


def test_the_content_decides_not_the_name(tmp_path):
    path = tmp_path / "model.safetensors"
    torch.save({"a": torch.ones(2)}, path)
    assert_same(read_all(path), {"a": torch.ones(2)})


class _Executes:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_a_pickle_that_runs_code_is_refused_and_does_not_run(tmp_path, zipped):
    path, evidence = tmp_path / "evil.pt", tmp_path / "evidence"
    torch.save({"a": torch.ones(2), "b": _Executes(evidence)}, path, _use_new_zipfile_serialization=zipped)
    assert "more than tensors" in message_of(path)
    path.write_bytes(pickle.dumps(_Executes(evidence)))
    assert "more than tensors" in message_of(path)
    assert not evidence.exists()


def test_foreign_files_are_named_for_what_they_are(tmp_path):
    cases = {
        "git-lfs pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 11140569048\n",
        "web page": b"\n<!DOCTYPE html><html><body>Sign in</body></html>",
        "the file is empty": b"",
        "cut short or damaged": b"GGUF\x03\x00\x00\x00" + bytes(2),
        "not a file of weights": b"hello, this is a readme",
    }
    for number, (expected, content) in enumerate(cases.items()):
        path = tmp_path / f"{number}.safetensors"
        path.write_bytes(content)
        assert expected in message_of(path)
    assert "11,140,569,048 bytes" in message_of(tmp_path / "0.safetensors")


def test_a_zip_archive_without_weights_is_told_from_a_cut_one(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    assert "zip archive without PyTorch weights" in message_of(path)
    torch.save({"a": torch.ones(1000)}, path)
    path.write_bytes(path.read_bytes()[:-100])
    assert "cut short or damaged" in message_of(path)


@pytest.mark.parametrize(
    ("kept", "missing"), [(-1, "1 bytes"), (-17, "17 bytes"), (4, "at least"), (40, "at least")]
)
def test_a_truncated_file_says_how_many_bytes_are_missing(tmp_path, kept, missing):
    path = tmp_path / "a.safetensors"
    save_safetensors(path, {"a": torch.randn(10, 10)})
    path.write_bytes(path.read_bytes()[:kept])
    if kept == 4:
        assert "not a file of weights" in message_of(path)
    else:
        assert f"{missing}" in message_of(path)
        assert "ends early" in message_of(path)


def test_bytes_too_many_and_impossible_headers_are_refused(tmp_path):
    path = tmp_path / "a.safetensors"
    save_safetensors(path, {"a": torch.randn(10)})
    path.write_bytes(path.read_bytes() + b"12345")
    assert "5 bytes more" in message_of(path)
    for header in (
        {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}},
        {"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, -4]}},
        {"a": {"shape": [1]}},
        {"a": 3},
        {"a": {"dtype": ["F32"], "shape": [0], "data_offsets": [0, 0]}},
    ):
        text = json.dumps(header).encode()
        path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(4))
        assert "damaged" in message_of(path)
    text = json.dumps({"a": {"dtype": "F4", "shape": [2], "data_offsets": [0, 1]}}).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"0")
    assert "number format F4" in message_of(path)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data(), kind=st.sampled_from(["safetensors", "zip", "legacy"]))
def test_no_damage_ever_shows_a_traceback(tmp_path, data, kind):
    path = tmp_path / kind
    if kind == "safetensors":
        save_safetensors(path, {"a": torch.ones(3), "b": torch.ones(2, 2)}, {"note": "x"})
    else:
        torch.save(
            {"a": torch.ones(3), "b": torch.ones(2, 2)}, path, _use_new_zipfile_serialization=kind == "zip"
        )
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        read_all(path)
    except FileError as error:
        assert str(path) in str(error)


def test_a_file_without_tensors_is_refused(tmp_path):
    torch.save({"epoch": 3}, tmp_path / "a.pt")
    assert "no named tensors" in message_of(tmp_path / "a.pt")


def test_a_wrong_path_names_the_nearest(tmp_path):
    (tmp_path / "transformer.safetensors").touch()
    assert "Did you mean" in message_of(tmp_path / "transfomer.safetensors")
    assert "Check the path" in message_of(tmp_path / "nowhere" / "x.safetensors")


@pytest.mark.parametrize(
    "name",
    [
        "diffusion_pytorch_model.safetensors",
        "model.safetensors",
        "model.fp16.safetensors",
        "other.safetensors",
    ],
)
def test_a_folder_with_one_file_opens(tmp_path, name):
    save_safetensors(tmp_path / name, tensors())
    assert_same(read_all(tmp_path), tensors())


def test_the_full_precision_file_is_taken_before_its_variant(tmp_path):
    save_safetensors(tmp_path / "model.fp16.safetensors", {"a": torch.zeros(1)})
    save_safetensors(tmp_path / "model.safetensors", {"a": torch.ones(1)})
    assert read_all(tmp_path)["a"] == 1


def test_a_training_folder_opens_at_its_latest_iteration(tmp_path):
    (tmp_path / "1000").mkdir()
    (tmp_path / "latest").write_text("1000\n")
    assert "mp_rank_00" in message_of(tmp_path)
    torch.save({"module": {"a": torch.ones(2)}}, tmp_path / "1000" / "mp_rank_00_model_states.pt")
    assert_same(read_all(tmp_path), {"a": torch.ones(2)})
    assert_same(read_all(tmp_path / "1000"), {"a": torch.ones(2)})
    torch.save({"module": {"b": torch.ones(2)}}, tmp_path / "1000" / "mp_rank_01_model_states.pt")
    assert "2 model-parallel ranks" in message_of(tmp_path / "1000")


def test_a_folder_without_weights_names_its_parts(tmp_path):
    (tmp_path / "transformer").mkdir()
    assert "transformer" in message_of(tmp_path)


def test_a_folder_with_several_files_asks_which(tmp_path):
    for name in ("a", "b"):
        save_safetensors(tmp_path / f"{name}.safetensors", tensors())
    assert "several files" in message_of(tmp_path)


@pytest.fixture
def shards(tmp_path) -> list[Path]:
    state = {f"t{number}": torch.full((100,), float(number)) for number in range(5)}
    return save_sharded(tmp_path / "model", state, max_shard_bytes=800, stem="model")


def test_shards_open_by_folder_and_by_any_one_of_them(shards):
    assert [path.name for path in shards] == [f"model-0000{n}-of-00003.safetensors" for n in (1, 2, 3)]
    index = json.loads((shards[0].parent / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == 2000
    assert index["weight_map"]["t4"] == shards[2].name
    whole = read_all(shards[0].parent)
    assert {name: tensor[0].item() for name, tensor in whole.items()} == {f"t{n}": n for n in range(5)}
    assert_same(read_all(shards[1]), whole)


def test_a_missing_shard_is_named(shards):
    shards[1].unlink()
    for path in (shards[0].parent, shards[0]):
        assert "1 of 3 files of weights are missing, by" in message_of(path)
        assert shards[1].name in message_of(path)


def test_an_index_that_leads_elsewhere_or_nowhere_is_refused(shards):
    index = shards[0].parent / "model.safetensors.index.json"
    for content in ('{"weight_map": {"a": "../../etc/passwd"}}', '{"weight_map": {}}', "{}", "[1]", "{"):
        index.write_text(content)
        assert "index" in message_of(shards[0].parent)


def test_a_tensor_in_two_shards_is_refused(shards):
    save_safetensors(shards[1], {"t0": torch.ones(1)})
    assert "t0 is also in" in message_of(shards[0].parent)


def test_saving_again_with_fewer_shards_leaves_nothing_stale(shards):
    folder = shards[0].parent
    (folder / "notes.txt").touch()
    save_sharded(folder, {"x": torch.ones(3)}, max_shard_bytes=800, stem="model")
    assert {path.name for path in folder.iterdir()} == {"model.safetensors", "notes.txt"}
    assert_same(read_all(folder), {"x": torch.ones(3)})


def test_a_failed_save_keeps_the_file_that_was_there(tmp_path):
    path = tmp_path / "a.safetensors"
    save_safetensors(path, {"a": torch.ones(2)})
    with pytest.raises(NotImplementedError):
        save_safetensors(path, {"a": torch.zeros(2), "b": torch.empty(3, device="meta")})
    assert_same(read_all(path), {"a": torch.ones(2)})
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.safetensors"]


def test_an_unsavable_format_is_misuse(tmp_path):
    with pytest.raises(KeyError, match=r"torch\.complex128"):
        save_safetensors(tmp_path / "a.safetensors", {"a": torch.zeros(1, dtype=torch.complex128)})


def test_metadata_of_another_kind_of_file_is_refused(tmp_path):
    torch.save({"a": torch.ones(1)}, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match="not a safetensors file"):
        read_safetensors_metadata(tmp_path / "a.pt")


def test_a_fingerprint_follows_the_content_not_the_name(tmp_path):
    first, second, third = (tmp_path / name for name in "abc")
    first.write_bytes(b"one")
    second.write_bytes(b"two")
    third.write_bytes(b"one")
    assert fingerprint([first, second]) == fingerprint([second, third])
    assert fingerprint([first]) != fingerprint([second])
    assert fingerprint([first]) != fingerprint([first, third])
    with pytest.raises(FileError):
        fingerprint([tmp_path / "absent"])


def test_a_large_file_is_told_from_another_by_any_of_its_spread_blocks(tmp_path):
    size = (64 << 20) + (1 << 20)
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(size)
    marks = {fingerprint([path])}
    for place in (0, 1 << 19, size - 1):
        with path.open("r+b") as file:
            file.seek(place)
            file.write(b"x")
        marks.add(fingerprint([path]))
    with path.open("ab") as file:
        file.write(b"\0")
    marks.add(fingerprint([path]))
    assert len(marks) == 5
