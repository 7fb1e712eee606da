"""Files are whole or absent, and a disk that refuses is explained."""

import errno
import hashlib
from pathlib import Path

import pytest

from reelwright.core.errors import FileError
from reelwright.core.paths import (
    atomic_path,
    cache_folder,
    check_writable,
    remove_leftovers,
    sha256_of,
    write_text_atomic,
)


def test_a_file_appears_only_when_it_is_complete(tmp_path: Path):
    target = tmp_path / "new" / "clip.mp4"
    with atomic_path(target) as temporary:
        temporary.write_bytes(b"half")
        assert temporary.suffix == ".mp4"
        assert temporary.parent == target.parent
        assert not target.exists()
    assert [path.name for path in target.parent.iterdir()] == ["clip.mp4"]
    assert target.read_bytes() == b"half"


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt])
def test_a_failure_keeps_the_old_file_and_leaves_nothing_else(tmp_path: Path, failure):
    target = tmp_path / "recipe.toml"
    target.write_text("old")
    with pytest.raises(failure), atomic_path(target) as temporary:
        temporary.write_text("new")
        raise failure
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.toml"]
    assert target.read_text() == "old"


def test_a_full_disk_is_explained_and_leaves_nothing(tmp_path: Path):
    with (
        pytest.raises(FileError, match=r"clip\.mp4.*disk is full.*another folder"),
        atomic_path(tmp_path / "clip.mp4") as temporary,
    ):
        temporary.write_bytes(b"part")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_an_error_about_another_file_is_not_taken_for_the_target(tmp_path: Path):
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "clip.mp4"):
        (tmp_path / "missing" / "input.png").read_bytes()


def test_a_file_in_the_place_of_a_folder_is_explained(tmp_path: Path):
    (tmp_path / "outputs").write_text("I am a file")
    with pytest.raises(FileError, match=r"outputs.*folder"):
        write_text_atomic(tmp_path / "outputs" / "a.txt", "text")
    with pytest.raises(FileError, match=r"outputs.*folder"):
        check_writable(tmp_path / "outputs")


def test_a_folder_in_the_place_of_a_file_is_explained(tmp_path: Path):
    (tmp_path / "recipe.toml").mkdir()
    with pytest.raises(FileError, match=r"recipe\.toml.*folder stands where a file"):
        write_text_atomic(tmp_path / "recipe.toml", "text")
    assert list(tmp_path.iterdir()) == [tmp_path / "recipe.toml"]


def test_a_long_name_is_no_longer_while_it_is_written(tmp_path: Path):
    target = tmp_path / ("n" * 250 + ".txt")
    write_text_atomic(target, "text")
    assert target.read_text() == "text"


def test_text_is_utf8_with_plain_line_ends(tmp_path: Path):
    write_text_atomic(tmp_path / "a.txt", "ä\nb\n")
    assert (tmp_path / "a.txt").read_bytes() == b"\xc3\xa4\nb\n"


def test_a_folder_is_tried_and_left_as_it_was(tmp_path: Path):
    check_writable(tmp_path / "a" / "b", needed_bytes=1)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "here").mkdir()
    check_writable(tmp_path / "here")
    assert [path.name for path in tmp_path.rglob("*")] == ["here"]


def test_too_little_space_is_told_before_the_work(tmp_path: Path):
    with pytest.raises(FileError, match=r"1000000000\.0 GB are needed"):
        check_writable(tmp_path, needed_bytes=10**18)


def test_the_cache_folder_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("REELWRIGHT_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"
    monkeypatch.delenv("REELWRIGHT_CACHE")
    assert cache_folder() == tmp_path / "reelwright"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "reelwright"


def test_the_hash_is_that_of_the_content(tmp_path: Path):
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256_of(tmp_path / "a") == hashlib.sha256(b"abc").hexdigest()
    with pytest.raises(FileError, match="no such file"):
        sha256_of(tmp_path / "b")


def test_only_what_a_killed_process_left_half_built_is_removed(tmp_path: Path):
    half_built = [".0123456789ab.mp4", ".0123456789ab", ".0123456789ab-old", ".tmpA1b2C3"]
    kept = ["clip-001.mp4", ".lock", ".tmp", ".tmp-notes.txt", "0123456789ab.mp4"]
    for name in [*half_built, *kept]:
        (tmp_path / name).write_text("content")
    remove_leftovers(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)


def test_what_was_left_half_built_in_inner_folders_is_removed_too(tmp_path: Path):
    inner = tmp_path / "sections" / "clip-001"
    (inner / ".0123456789ab" / "frames").mkdir(parents=True)
    for name in (".0123456789ab.safetensors", "section-000.safetensors"):
        (inner / name).write_text("content")
    remove_leftovers(tmp_path)
    assert [path.name for path in inner.iterdir()] == ["section-000.safetensors"]
