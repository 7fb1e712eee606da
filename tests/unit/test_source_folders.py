"""Folders as other programs lay them out are read as they are."""

import io
import json
import tarfile
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import given
from hypothesis import strategies as st

from reelwright.core import locations
from reelwright.protocols.clips import Source

from .listed_sources import listed, problems


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(*names: str, **texts: str) -> None:
    """Empty files in the folder d, and texts in it; of their names, the last _ is the dot."""
    contents = dict.fromkeys(names, "") | {
        ".".join(name.rsplit("_", 1)): text for name, text in texts.items()
    }
    for name, text in contents.items():
        Path("d", name).parent.mkdir(parents=True, exist_ok=True)
        Path("d", name).write_text(text, encoding="utf-8")


def write_tar(name: str, members: dict[str, str]) -> None:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(name, "w") as archive:
        for member, text in members.items():
            info = tarfile.TarInfo(member)
            info.size = len(text.encode())
            archive.addfile(info, io.BytesIO(text.encode()))


def captions(folder: str = "d") -> dict[str, str | None]:
    return {source.media: source.caption for source in listed(folder=folder)}


@pytest.mark.parametrize("prompts", ["prompts", "prompt", "captions", "caption"])
@pytest.mark.parametrize("videos", ["videos", "video"])
def test_prompts_and_videos_belong_together_line_by_line(prompts: str, videos: str):
    write("videos/1.mp4", "videos/2.mp4", "videos/3.mp4")
    write(
        **{
            f"{prompts}_txt": " a fox \r\n\na ball",
            f"{videos}_txt": "videos/2.mp4\n videos/1.mp4 \nvideos/3.mp4\n\n\n",
        }
    )
    assert captions() == {"d/videos/2.mp4": "a fox", "d/videos/1.mp4": "", "d/videos/3.mp4": "a ball"}
    assert listed(folder="d")[1].caption_origin == f"d/{videos}.txt line 2"


def test_images_beside_videos_are_what_clips_start_from():
    write("1.mp4", "1.png", prompts_txt="a", videos_txt="1.mp4", images_txt="1.png")
    (source,) = listed(folder="d")
    assert source == Source(
        media="d/1.mp4",
        kind="video",
        stem="1",
        caption="a",
        caption_origin="d/videos.txt line 1",
        controls=("d/1.png",),
    )


def test_images_without_videos_are_the_items():
    write("1.png", prompts_txt="a", images_txt="1.png")
    (source,) = listed(folder="d")
    assert (source.kind, source.media, source.controls) == ("image", "d/1.png", ())


def test_lists_may_name_files_from_the_working_directory():
    write("1.mp4", prompts_txt="a\nb", videos_txt="d/1.mp4\ns3://bucket/2.mp4")
    assert captions() == {"d/1.mp4": "a", "s3://bucket/2.mp4": "b"}


def test_lists_that_do_not_fit_together_are_refused():
    write("1.mp4", prompts_txt="a\nb\n", videos_txt="1.mp4\n")
    assert problems(folder="d") == [
        "d: the numbers of lines differ: prompts.txt has 2, videos.txt has 1."
        " Line by line they belong together."
    ]
    Path("d/prompts.txt").unlink()
    assert problems(folder="d")[0].startswith("d/videos.txt: there is no prompts.txt beside it. Write one")
    write(prompts_txt="a", prompt_txt="a")
    assert problems(folder="d") == ["d/prompts.txt: says the same as prompt.txt beside it. Keep one of them."]


def test_wrong_lines_of_lists_are_all_named():
    write("1.mp4", prompts_txt="a\nb\nc\nd", videos_txt="1.mp4\nno.mp4\n\nd/no.mp4")
    assert problems(folder="d") == [
        "d/videos.txt line 2: d/no.mp4: there is no such file. Check the path.",
        "d/videos.txt line 3: is empty. Name a file, or remove the line from all lists.",
        "d/videos.txt line 4: d/d/no.mp4: there is no such file. Check the path.",
    ]
    write(prompts_txt="a\nb", videos_txt="1.mp4\n1.mp4")
    assert problems(folder="d")[0].startswith(
        "d/1.mp4: is named twice, with d/videos.txt line 1 and d/videos.txt line 2."
    )


@pytest.mark.parametrize("file", ["file_name", "video", "path"])
@pytest.mark.parametrize("caption", ["caption", "text", "prompt"])
def test_a_table_of_files_is_read(file: str, caption: str):
    write(
        "1.mp4",
        "in/2.mp4",
        metadata_csv=f'id,{file},{caption}\n7,1.mp4,"a fox, red\nand quick"\n8,in/2.mp4,b\n',
    )
    assert captions() == {"d/1.mp4": "a fox, red\nand quick", "d/in/2.mp4": "b"}
    assert [source.caption_origin for source in listed(folder="d")] == [
        "d/metadata.csv line 3",
        "d/metadata.csv line 4",
    ]


@pytest.mark.parametrize("kind", ["jsonl", "json"])
def test_tables_of_json_say_the_same(kind: str):
    rows = [{"file_name": "1.mp4", "text": "a"}, {"file_name": "2.png", "caption": "b", "fps": 8}]
    write("1.mp4", "2.png")
    text = json.dumps(rows) if kind == "json" else "\n".join(json.dumps(row) for row in rows)
    write(**{f"metadata_{kind}": text})
    assert captions() == {"d/1.mp4": "a", "d/2.png": "b"}
    assert [source.kind for source in listed(folder="d")] == ["video", "image"]


@pytest.mark.parametrize(
    ("kind", "text", "problem"),
    [
        ("csv", "file,caption\n1.mp4,a", "line 2: file_name: is missing. Did you mean file?"),
        ("csv", "file_name,captoin\n1.mp4,a", "line 2: captoin: unknown key. Did you mean caption?"),
        ("csv", "file_name,text\n1.mp4,a, b", "line 2: has more columns than the first line. Put a text"),
        ("csv", "file_name,text\nno.mp4,a", "line 2: d/no.mp4: there is no such file."),
        ("csv", "file_name,text\n1.doc,a", "line 2: d/1.doc: is neither a picture nor a clip."),
        ("csv", "file_name,text\n,a", "line 2: file_name: '' is no path."),
        ("json", "{}", ": holds no list of objects."),
        ("json", "[1]", ": holds no list of objects."),
        ("json", "[", ": is no JSON:"),
        ("json", '[{"x": 1}]', " item 1: file_name: is missing."),
        ("jsonl", "{}\n", "line 1: file_name: is missing."),
    ],
)
def test_a_wrong_row_is_named_with_file_and_line(kind: str, text: str, problem: str):
    write("1.mp4", "1.doc", **{f"metadata_{kind}": text})
    space = " " if problem.startswith("line") else ""
    assert problems(folder="d")[0].startswith(f"d/metadata.{kind}{space}{problem}")


def test_two_layouts_in_one_folder_are_refused():
    write("1.mp4", metadata_csv="file_name,text\n1.mp4,a", metadata_jsonl="{}")
    assert problems(folder="d") == [
        "d/metadata.jsonl: lists items, and so does metadata.csv beside it. Keep one of them there."
    ]
    write(prompts_txt="a", videos_txt="1.mp4")
    assert problems(folder="d") == [
        "d/metadata.csv: lists items, and so does prompts.txt beside it. Keep one of them there."
    ]


def test_pairs_are_found_in_inner_folders_but_not_in_hidden_ones():
    write("b.mp4", "in/a.png", ".trash/c.mp4", "in/._d.mp4")
    Path("d/in/a.txt").write_text("a fox")
    assert captions() == {"d/b.mp4": None, "d/in/a.png": "a fox"}
    write("in/b.mov")
    assert problems(folder="d")[0].startswith("d/in/b.mov: has the same name as d/b.mp4")


def test_hidden_folders_above_the_data_do_not_count():
    Path(".data/set").mkdir(parents=True)
    Path(".data/set/a.mp4").touch()
    assert captions(".data/set") == {".data/set/a.mp4": None}
    assert captions("./.data/set/") == {".data/set/a.mp4": None}
    MemoryFileSystem.store.clear()
    locations.publish(Path(".data/set/a.mp4"), "memory://.data/set/a.mp4")
    locations.publish(Path(".data/set/a.mp4"), "memory://.data/set/.old/b.mp4")
    assert captions("memory://.data/set") == {"memory:///.data/set/a.mp4": None}


def test_a_folder_of_nothing_is_refused():
    write("readme.md")
    assert problems(folder="d")[0].startswith(
        "d: holds no data that can be told: neither clips or pictures, nor prompts"
    )


def test_shards_are_read_where_they_lie():
    write_tar("d/0.tar", {"b.mp4": "", "b.txt": " a fox\n", "a.json": '{"text": "a ball"}', "a.webm": ""})
    write_tar("d/1.tar", {"in/c.jpg": "", "in/c.txt": "a car", "in/d.jpg": "", "note.md": ""})
    assert captions() == {
        "tar://a.webm::d/0.tar": "a ball",
        "tar://b.mp4::d/0.tar": "a fox",
        "tar://in/c.jpg::d/1.tar": "a car",
        "tar://in/d.jpg::d/1.tar": None,
    }
    assert [source.stem for source in listed(folder="d")] == ["a", "b", "c", "d"]
    assert listed(folder="d")[0].caption_origin == "tar://a.json::d/0.tar"
    assert {path.name for path in Path("d").iterdir()} == {"0.tar", "1.tar"}


def test_one_shard_is_a_data_set_also_at_a_url():
    write_tar("s.tar", {"a.mp4": "", "a.txt": "a fox"})
    assert captions("s.tar") == {"tar://a.mp4::s.tar": "a fox"}
    MemoryFileSystem.store.clear()
    locations.publish(Path("s.tar"), "memory://shards/s.tar")
    assert captions("memory://shards") == {"tar://a.mp4::memory:///shards/s.tar": "a fox"}


def test_members_of_a_shard_are_one_item_by_what_stands_before_the_first_dot():
    members = ["0.video.mp4", "0.caption.txt", "0.look.jpg", "1.a.mp4", "1.a.txt", "1.b.mp4", "1.b.txt"]
    write_tar("s.tar", {name: name for name in members})
    assert captions("s.tar") == {
        "tar://0.video.mp4::s.tar": "0.caption.txt",
        "tar://1.a.mp4::s.tar": "1.a.txt",
        "tar://1.b.mp4::s.tar": "1.b.txt",
    }


def test_names_in_a_shard_that_lead_out_of_it_are_only_names():
    write_tar("s.tar", {"../../evil.mp4": "", "../../evil.txt": "a"})
    (source,) = listed(folder="s.tar")
    assert (source.stem, source.caption) == ("evil", "a")


def test_wrong_shards_are_named():
    write_tar(
        "d/0.tar", {"a.mp4": "", "a.json": "{", "b.mp4": "", "b.json": "[]", "c.mp4": "", "c.json": "{}"}
    )
    assert [problem.split(":", 2)[2] for problem in problems(folder="d")] == [
        ":d/0.tar: is no JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)."
        " Mend the shard.",
        ":d/0.tar: is no object with a caption. Mend the shard.",
    ]
    write_tar("d/0.tar", {"a.mp4": ""})
    write_tar("d/1.tar", {"in/a.mp4": ""})
    assert problems(folder="d")[0].startswith(
        "tar://in/a.mp4::d/1.tar: has the same name as tar://a.mp4::d/0.tar"
    )
    write("2.tar.gz")
    assert problems(folder="d")[0].startswith(
        "d/2.tar.gz: is compressed, so that single clips of it cannot be reached."
    )
    assert problems(folder="no.tar") == ["no.tar: there is no such file. Check the path."]


names = st.sampled_from(["prompts.txt", "videos.txt", "images.txt", "metadata.csv", "metadata.json", "a.txt"])
contents = st.binary(max_size=40) | st.text("a.mp4\n,\"'{}[]:file_nametext", max_size=60).map(str.encode)


@given(files=st.dictionaries(names, contents, max_size=3))
def test_no_folder_is_more_than_refused(tmp_path_factory, files: dict[str, bytes]):
    folder = tmp_path_factory.mktemp("fuzzed")
    (folder / "a.mp4").touch()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    assert all(problems(folder=str(folder)))
