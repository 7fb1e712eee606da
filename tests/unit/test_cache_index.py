"""The list of a cache's files: what is listed is found again, whatever happens to the list."""

import os
import random
import sqlite3
from contextlib import closing

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reelwright.core import locations
from reelwright.core.errors import FileError
from reelwright.data.cache_folder import CacheFolder
from reelwright.data.cache_index import (
    IndexRow,
    index_name,
    list_kinds,
    read_index,
    stale_rows,
    write_index,
)

IDENTITY = {"origin": "clips", "facts": '{"mode": "base"}'}
SHARED = {"suppress_health_check": [HealthCheck.function_scoped_fixture], "deadline": None}
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
rows_of_any_form = st.lists(
    st.builds(
        IndexRow,
        file=text,
        fingerprint=text,
        group=text,
        num_items=st.integers(0, 1000),
        stem=text,
        source=text,
        source_stamp=text,
        more_sources=st.lists(st.tuples(text, text), max_size=2).map(tuple),
    ),
    max_size=12,
    unique_by=lambda row: row.file,
)


def rows_of(count: int, **values) -> list[IndexRow]:
    return [
        IndexRow(
            **{
                "file": f"clip{n:05}.safetensors",
                "fingerprint": f"f{n}",
                "group": f"g{n % 3}",
                "num_items": 1 + n % 4,
                "stem": f"clip{n:05}",
                **values,
            }
        )
        for n in range(count)
    ]


@pytest.fixture(params=["path", "url"])
def folder(request, tmp_path):
    if request.param == "path":
        return CacheFolder(str(tmp_path / "cache"))
    pytest.importorskip("fsspec")
    return CacheFolder(f"memory://{tmp_path.name}/index")


@settings(max_examples=50, **SHARED)
@given(rows=rows_of_any_form, chance=st.randoms())
def test_what_is_listed_is_found_in_the_order_of_names(tmp_path, rows, chance):
    folder = CacheFolder(str(tmp_path))
    write_index(folder, "x", IDENTITY, rows)
    # SQLite compares the bytes of UTF-8.
    expected = sorted(rows, key=lambda row: row.file.encode())
    with read_index(folder, "x") as index:
        assert list(index.rows()) == expected
        assert [index.row(number) for number in range(len(rows))] == expected
        assert (index.num_files, index.num_items) == (len(rows), sum(row.num_items for row in rows))
        groups, num_items = index.counts()
        assert [index.groups[group] for group in groups] == [row.group for row in expected]
        assert num_items.tolist() == [row.num_items for row in expected]
        assert index.identity == IDENTITY
        order = index.order
    content = (tmp_path / index_name("x")).read_bytes()
    chance.shuffle(rows)
    write_index(folder, "x", IDENTITY, rows)
    assert (tmp_path / index_name("x")).read_bytes() == content
    assert read_index(folder, "x").order == order


def test_an_index_can_be_kept_anywhere(folder):
    assert list_kinds(folder) == []
    write_index(folder, "x-latents", IDENTITY, rows_of(5))
    write_index(folder, "x-text", {}, rows_of(2))
    with read_index(folder, "x-latents") as index:
        assert list(index.rows()) == rows_of(5)
    assert list_kinds(folder) == ["x-latents", "x-text"]
    assert folder.names() == []


def test_many_rows_are_read_a_few_at_a_time(tmp_path):
    folder, rows = CacheFolder(str(tmp_path)), rows_of(2500)
    random.Random(0).shuffle(rows)
    write_index(folder, "x", {}, rows)
    with read_index(folder, "x") as index:
        assert list(index.rows()) == rows_of(2500)
        assert index.row(1234) == rows_of(1235)[-1]
        with pytest.raises(LookupError):
            index.row(2500)


def test_what_decides_the_order_of_training_has_a_digest(tmp_path):
    def order(rows):
        write_index(CacheFolder(str(tmp_path)), "x", {}, rows)
        return read_index(CacheFolder(str(tmp_path)), "x").order

    same = order(rows_of(4))
    assert order(rows_of(4, fingerprint="of another caption")) == same
    others = [rows_of(5), rows_of(4, group="g"), rows_of(4, num_items=7)]
    assert len({same, *map(order, others)}) == 4


def test_a_reader_sees_the_list_that_it_opened(tmp_path):
    folder = CacheFolder(str(tmp_path))
    write_index(folder, "x", {}, rows_of(3))
    with read_index(folder, "x") as old:
        write_index(folder, "x", {}, rows_of(7))
        assert len(list(old.rows())) == 3
    assert read_index(folder, "x").num_files == 7
    assert [path.name for path in tmp_path.iterdir()] == [index_name("x")]


def test_two_rows_of_one_file_are_refused_with_both_sources(tmp_path):
    folder = CacheFolder(str(tmp_path))
    write_index(folder, "x", {}, rows_of(2))
    twice = [*rows_of(1, source="a/cat.mp4"), *rows_of(1, source="b/cat.mov")]
    with pytest.raises(FileError, match=r"both a/cat\.mp4 and b/cat\.mov"):
        write_index(folder, "x", {}, twice)
    assert read_index(folder, "x").num_files == 2
    assert [path.name for path in tmp_path.iterdir()] == [index_name("x")]


def test_rows_that_end_in_an_error_leave_the_list_as_it_was(tmp_path):
    def failing():
        yield from rows_of(3)
        raise FileError("the disk is gone")

    folder = CacheFolder(str(tmp_path))
    write_index(folder, "x", {}, rows_of(2))
    with pytest.raises(FileError, match="the disk is gone"):
        write_index(folder, "x", {}, failing())
    assert read_index(folder, "x").num_files == 2


def test_a_folder_without_a_list_names_the_command(folder):
    with pytest.raises(FileError, match="reelwright cache"):
        read_index(folder, "x")


@settings(max_examples=60, **SHARED)
@given(place=st.floats(0, 1, exclude_max=True), change=st.binary(max_size=40), cut=st.booleans())
def test_a_damaged_list_is_told_and_never_a_crash(tmp_path, place, change, cut):
    folder = CacheFolder(str(tmp_path))
    write_index(folder, "x", IDENTITY, rows_of(50))
    path = tmp_path / index_name("x")
    content = bytearray(path.read_bytes())
    position = int(place * len(content))
    content[position : position + len(change)] = change
    path.write_bytes(content[:position] if cut else content)
    try:
        with read_index(folder, "x") as index:
            index.counts()
            index.match_stems(index)
            list(index.rows())
    except FileError as error:
        assert str(path) in str(error)


@pytest.mark.parametrize("more", ["", "\0\0", "{", "[1]", '[["a"]]', "7"])
def test_damaged_words_on_more_sources_are_told(tmp_path, more):
    write_index(CacheFolder(str(tmp_path)), "x", {}, rows_of(2))
    with closing(sqlite3.connect(tmp_path / index_name("x"))) as database, database:
        database.execute("UPDATE files SET more_sources = ?", (more,))
    with read_index(CacheFolder(str(tmp_path)), "x") as index:
        with pytest.raises(FileError, match="damaged"):
            list(index.rows())
        with pytest.raises(FileError, match="damaged"):
            index.row(0)


def test_a_list_of_another_version_is_told(tmp_path):
    folder = CacheFolder(str(tmp_path))
    write_index(folder, "x", {}, rows_of(1))
    with sqlite3.connect(tmp_path / index_name("x")) as database:
        database.execute("PRAGMA user_version = 9")
    with pytest.raises(FileError, match="version 9"):
        read_index(folder, "x")


@settings(max_examples=40, **SHARED)
@given(
    stems=st.lists(st.sampled_from("abcdef"), max_size=12),
    others=st.lists(st.sampled_from("abcdef"), unique=True),
)
def test_files_find_the_texts_of_their_stems(tmp_path, stems, others):
    clips, texts = CacheFolder(str(tmp_path / "clips")), CacheFolder(str(tmp_path / "texts"))
    write_index(
        clips, "x", {}, [IndexRow(file=f"{n:02}", fingerprint="", stem=s) for n, s in enumerate(stems)]
    )
    write_index(texts, "y", {}, [IndexRow(file=f"{s}_te", fingerprint="", stem=s) for s in others])
    with read_index(clips, "x") as latents, read_index(texts, "y") as found:
        matches = latents.match_stems(found)
        assert [None if n < 0 else found.row(int(n)).stem for n in matches] == [
            stem if stem in others else None for stem in stems
        ]
        assert (latents.match_stems(found) == matches).all()


def test_a_changed_source_is_stale_and_a_missing_one_is_not(tmp_path):
    folder = CacheFolder(str(tmp_path / "cache"))
    sources = [tmp_path / f"{name}.txt" for name in ("same", "changed", "gone", "rewritten", "untold")]
    for path in sources:
        path.write_text("a cat")
    stamps = [locations.stamp(str(path)) for path in sources[:4]] + [""]
    rows = [
        IndexRow(file=path.stem, fingerprint="", stem=path.stem, source=str(path), source_stamp=stamp)
        for path, stamp in zip(sources, stamps, strict=True)
    ]
    write_index(folder, "x", {}, rows)
    with read_index(folder, "x") as index:
        assert list(stale_rows(index)) == []
        sources[1].write_text("a dog and more")
        sources[2].unlink()
        # The same size at the same time: only the file itself is another.
        status = sources[3].stat()
        sources[3].with_suffix(".new").write_text("a dog")
        sources[3].with_suffix(".new").replace(sources[3])
        os.utime(sources[3], ns=(status.st_atime_ns, status.st_mtime_ns))
        sources[4].write_text("anything")
        assert [row.file for row in stale_rows(index)] == ["changed", "rewritten"]


def test_a_changed_control_picture_makes_its_files_stale(tmp_path):
    folder = CacheFolder(str(tmp_path / "cache"))
    pictures = [tmp_path / name for name in ("target.png", "before.png", "after.png")]
    for path in pictures:
        path.write_text("a cat")
    (target, mark), *controls = [(str(path), locations.stamp(str(path))) for path in pictures]
    row = IndexRow(
        file="x", fingerprint="", stem="x", source=target, source_stamp=mark, more_sources=tuple(controls)
    )
    write_index(folder, "x", {}, [row])
    with read_index(folder, "x") as index:
        assert list(index.rows()) == [row]
        assert list(stale_rows(index)) == []
        pictures[2].write_text("a dog and more")
        assert list(stale_rows(index)) == [row]


def test_sources_at_urls_are_looked_at_where_it_is_asked(tmp_path):
    fsspec = pytest.importorskip("fsspec")
    source = f"memory://{tmp_path.name}/a.txt"
    with fsspec.open(source, "wb") as file:
        file.write(b"a cat")
    row = IndexRow(file="a", fingerprint="", stem="a", source=source, source_stamp=locations.stamp(source))
    folder = CacheFolder(str(tmp_path))
    write_index(folder, "x", {}, [row])
    with read_index(folder, "x") as index:
        assert list(stale_rows(index, remote=True)) == []
        with fsspec.open(source, "wb") as file:
            file.write(b"a dog and a cat")
        assert list(stale_rows(index)) == []
        assert list(stale_rows(index, remote=True)) == [row]
