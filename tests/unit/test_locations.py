"""Files are found and put by path and by URL alike, whole, and nothing is written where it should not be."""

import io
import os
import tarfile
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import given
from hypothesis import strategies as st

from reelwright.core import locations
from reelwright.core.errors import FileError


@pytest.fixture(autouse=True)
def empty_memory():
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]


@pytest.fixture(params=["path", "file", "memory"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return {"path": str(tmp_path), "file": f"file://{tmp_path}", "memory": "memory://root"}[request.param]


def put(location: str, content: bytes, tmp_path: Path) -> str:
    local = tmp_path / "to-be-published"
    local.write_bytes(content)
    locations.publish(local, location)
    local.unlink()
    return location


def write_tar(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def test_what_is_published_is_read_back_at_any_place(root: str, tmp_path: Path):
    file = put(locations.join(root, "inner", "a.mp4"), b"clip", tmp_path)
    assert locations.exists(file)
    assert locations.is_folder(locations.join(root, "inner"))
    assert not locations.is_folder(file)
    assert locations.read_bytes(file) == b"clip"
    with locations.local_copy(file) as path:
        assert (path.read_bytes(), path.name) == (b"clip", "a.mp4")
    assert [locations.name_of(each) for each in locations.list_files(root, recursive=True)] == ["a.mp4"]
    assert locations.list_files(root) == []
    locations.remove(file)
    locations.remove(file)
    assert not locations.exists(file)


def test_a_stamp_changes_with_the_file_and_with_nothing_else(root: str, tmp_path: Path):
    file = put(locations.join(root, "frames", "a.png"), b"one", tmp_path)
    other = put(locations.join(root, "frames", "b.png"), b"one", tmp_path)
    folder = locations.join(root, "frames")
    before, folder_before = locations.stamp(file), locations.stamp(folder)
    assert locations.stamp(file) == before
    put(file, b"longer", tmp_path)
    assert locations.stamp(file) != before
    assert locations.stamp(folder) != folder_before
    assert locations.read_bytes(other) == b"one"


def test_a_copy_of_a_file_elsewhere_is_gone_afterwards(tmp_path: Path):
    with locations.local_copy(put("memory://a/b.txt", b"x", tmp_path)) as path:
        folder = path.parent
    assert not folder.exists()


def test_a_file_on_this_machine_is_not_copied(tmp_path: Path):
    with locations.local_copy(str(tmp_path / "a.mp4")) as path:
        assert path == tmp_path / "a.mp4"
    with locations.local_copy(f"file://{tmp_path}/a.mp4") as path:
        assert path == tmp_path / "a.mp4"


def test_an_upload_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch):
    put("memory://cache/a.safetensors", b"old", tmp_path)

    def fail(self: MemoryFileSystem, *_: object, **__: object):
        raise OSError("connection lost")

    monkeypatch.setattr(MemoryFileSystem, "cp_file", fail)
    with pytest.raises(
        FileError, match=r"memory://cache/a\.safetensors: cannot be reached \(connection lost\)"
    ):
        put("memory://cache/a.safetensors", b"new", tmp_path)
    assert {name: file.getvalue() for name, file in MemoryFileSystem.store.items()} == {
        "/cache/a.safetensors": b"old"
    }


def test_an_upload_is_under_another_name_until_it_is_whole(tmp_path: Path, monkeypatch):
    seen: list[list[str]] = []
    copy = MemoryFileSystem.cp_file

    def watched(self: MemoryFileSystem, *names: str, **options: object):
        seen.append([*self.store])
        copy(self, *names, **options)

    monkeypatch.setattr(MemoryFileSystem, "cp_file", watched)
    put("memory://cache/a.safetensors", b"new", tmp_path)
    ((building,),) = seen
    assert building != "/cache/a.safetensors"
    assert [*MemoryFileSystem.store] == ["/cache/a.safetensors"]


@pytest.mark.parametrize("where", ["local", "memory"])
def test_members_of_a_tar_file_are_read_where_they_lie(where: str, tmp_path: Path):
    shard = str(write_tar(tmp_path / "s.tar", {"./a.txt": b"one", "d/b.txt": b"two" * 500}))
    if where == "memory":
        shard = put("memory://shards/s.tar", Path(shard).read_bytes(), tmp_path)
    assert locations.list_files(f"tar://::{shard}", recursive=True) == [
        f"tar://a.txt::{shard}",
        f"tar://d/b.txt::{shard}",
    ]
    assert locations.list_files(f"tar://::{shard}") == [f"tar://a.txt::{shard}"]
    assert locations.read_text(locations.join(f"tar://::{shard}", "a.txt")) == "one"
    with locations.local_copy(f"tar://d/b.txt::{shard}") as path:
        assert (path.name, path.read_bytes()) == ("b.txt", b"two" * 500)
    with fsspec.open(f"tar://d/b.txt::{shard}", "rb") as file:
        assert file.read() == b"two" * 500


def test_members_of_a_tar_file_cannot_be_written_outside_of_a_folder(tmp_path: Path):
    outside = tmp_path / "outside"
    names = ["../../evil.txt", f"{outside}/evil.txt", "..", "a/..", "c:\\evil.txt", "x" * 300 + ".txt"]
    shard = write_tar(tmp_path / "s.tar", dict.fromkeys(names, b"evil"))
    before = {*tmp_path.rglob("*")}
    for member in locations.list_files(f"tar://::{shard}", recursive=True):
        with locations.local_copy(member) as path:
            assert path.parent.name.startswith("reelwright-")
            assert path.resolve().parent == path.parent.resolve()
            assert path.read_bytes() == b"evil"
    assert {*tmp_path.rglob("*")} == before


def test_a_replaced_tar_file_is_read_anew(tmp_path: Path):
    shard = write_tar(tmp_path / "s.tar", {"a.txt": b"one"})
    member = f"tar://a.txt::{shard}"
    before = locations.stamp(member)
    shard.unlink()
    write_tar(shard, {"z.txt": b"more than before", "a.txt": b"three"})
    assert locations.read_bytes(member) == b"three"
    assert locations.stamp(member) != before


def test_a_hard_link_in_a_tar_file_is_what_it_links_to(tmp_path: Path):
    with tarfile.open(tmp_path / "s.tar", "w") as archive:
        info = tarfile.TarInfo("a.txt")
        info.size = 3
        archive.addfile(info, io.BytesIO(b"one"))
        link = tarfile.TarInfo("b.txt")
        link.type, link.linkname = tarfile.LNKTYPE, "a.txt"
        archive.addfile(link)
        symbolic = tarfile.TarInfo("c.txt")
        symbolic.type, symbolic.linkname = tarfile.SYMTYPE, str(tmp_path / "secret")
        archive.addfile(symbolic)
    assert locations.read_text(f"tar://b.txt::{tmp_path / 's.tar'}") == "one"
    assert not locations.exists(f"tar://c.txt::{tmp_path / 's.tar'}")


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("nowhere/a.mp4", "nowhere/a.mp4: there is no such file. Check the path."),
        ("memory://nowhere/a.mp4", "memory://nowhere/a.mp4: there is no such file. Check the path."),
        ("tar://a::nowhere.tar", "nowhere.tar: there is no such file. Check the path."),
        ("nosuchthing://a.mp4", "nosuchthing://a.mp4: cannot be reached (Protocol not known: nosuchthing)."),
        ("a\0b", "there is no such file"),
    ],
    ids=["path", "url", "shard", "protocol", "zero"],
)
def test_what_cannot_be_read_is_named(location: str, message: str):
    for read in (locations.stamp, locations.read_bytes):
        with pytest.raises(FileError) as caught:
            read(location)
        assert message in str(caught.value)


@pytest.mark.parametrize("name", ["a\0b", "x" * 5000, "\ud800"], ids=["zero", "long", "surrogate"])
def test_a_name_that_no_disk_can_hold_is_no_file(name: str):
    assert not locations.exists(name)
    with pytest.raises(FileError):
        locations.read_bytes(name)


def test_a_missing_package_is_named(monkeypatch):
    def refuse(*_: object, **__: object):
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr("fsspec.core.url_to_fs", refuse)
    with pytest.raises(FileError, match=r"s3://b/a: needs another package: Install s3fs to access S3\."):
        locations.read_bytes("s3://b/a")


def test_a_folder_and_a_file_are_not_taken_for_each_other(tmp_path: Path):
    (tmp_path / "a.txt").touch()
    with pytest.raises(FileError, match="is a file where a folder is needed"):
        locations.list_files(str(tmp_path / "a.txt"))
    with pytest.raises(FileError, match="is a folder where a file is needed"):
        locations.read_bytes(str(tmp_path))
    with pytest.raises(FileError, match="there is no such folder"):
        locations.list_files(str(tmp_path / "b"))


def test_a_damaged_or_compressed_tar_file_is_named(tmp_path: Path):
    whole = write_tar(tmp_path / "s.tar", {"a.txt": b"x" * 2000}).read_bytes()
    for content in (whole[:1500], b"no tar at all" * 99):
        (tmp_path / "s.tar").write_bytes(content)
        with pytest.raises(FileError, match=r"s\.tar: cannot be read as a tar file .*gunzip"):
            locations.read_bytes(f"tar://a.txt::{tmp_path / 's.tar'}")


def test_lines_come_with_their_numbers_and_a_byte_order_mark_is_no_part_of_them(tmp_path: Path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbfone\r\n\ntwo")
    assert [*locations.read_lines(str(path))] == [(1, "one"), (2, ""), (3, "two")]
    path.write_bytes(b"one\n\xff\n")
    with pytest.raises(FileError, match=r"a\.txt line 2: is not text in UTF-8"):
        list(locations.read_lines(str(path)))


def test_a_path_in_a_file_means_the_working_directory_or_else_beside_the_file(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sets").mkdir()
    for name in ("both.mp4", "sets/both.mp4", "sets/beside.mp4"):
        (tmp_path / name).touch()
    resolved = {
        name: locations.resolve(name, "sets/d.jsonl") for name in ("both.mp4", "beside.mp4", "no.mp4")
    }
    assert resolved == {
        "both.mp4": "both.mp4",
        "beside.mp4": os.path.join("sets", "beside.mp4"),  # noqa: PTH118 - the text itself counts
        "no.mp4": "no.mp4",
    }
    assert locations.resolve("s3://b/a.mp4", "sets/d.jsonl") == "s3://b/a.mp4"
    assert locations.resolve(str(tmp_path / "x"), "sets/d.jsonl") == str(tmp_path / "x")


@pytest.mark.parametrize(
    ("location", "name", "folder"),
    [
        ("a/b.mp4", "b.mp4", "a"),
        ("s3://bucket/a/b.mp4", "b.mp4", "s3://bucket/a"),
        ("tar://d/b.mp4::s3://bucket/s.tar", "b.mp4", "tar://d::s3://bucket/s.tar"),
        ("https://host/a/b.mp4?key=1/2", "b.mp4", "https://host/a"),
    ],
)
def test_names_and_folders_of_locations(location: str, name: str, folder: str):
    assert locations.name_of(location) == name
    if "?" not in location:
        assert locations.folder_of(location) == folder
        assert locations.join(folder, name) == location


@given(content=st.binary(max_size=400), cut=st.integers(0, 2048), at=st.integers(0, 1600))
def test_no_tar_file_whatever_is_in_it_is_more_than_refused(tmp_path_factory, content, cut, at):
    folder = tmp_path_factory.getbasetemp()
    whole = write_tar(folder / "whole.tar", {"a.txt": b"x" * 600, "b.txt": b"y"}).read_bytes()
    shard = folder / "fuzzed.tar"
    shard.unlink(missing_ok=True)
    shard.write_bytes((whole[:at] + content + whole[at + len(content) :])[: max(cut, 10)])
    try:
        for member in locations.list_files(f"tar://::{shard}", recursive=True):
            locations.read_bytes(member)
    except FileError:
        pass
