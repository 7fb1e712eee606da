"""Directories and JSONL files give their items in order; what is wrong with them is told with its place."""

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import given
from hypothesis import strategies as st

from reelwright.data.sources import list_sources
from reelwright.protocols.clips import Source
from reelwright.protocols.datasets import DatasetConfig

from .listed_sources import listed, problems


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(files: dict[str, str | bytes]) -> None:
    for name, content in files.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(content.encode() if isinstance(content, str) else content)


def lines(*objects: dict[str, Any]) -> str:
    return "\n".join(json.dumps(each) for each in objects)


def test_a_directory_of_clips_is_listed_in_order_with_captions(folder: Path):
    write(
        {
            "d/b.mp4": "",
            "d/b.txt": b"\xef\xbb\xbf  a fox \n",
            "d/a.MKV": "",
            "d/a.txt": "two\nlines",
            "d/c.v2.webm": "",
            "d/c.v2.txt": "",
            "d/._a.mp4": "",
            "d/inner/z.mp4": "",
            "d/notes.md": "",
        }
    )
    assert listed(video_directory="d") == [
        Source(media="d/a.MKV", kind="video", stem="a", caption="two\nlines", caption_origin="d/a.txt"),
        Source(media="d/b.mp4", kind="video", stem="b", caption="a fox", caption_origin="d/b.txt"),
        Source(media="d/c.v2.webm", kind="video", stem="c.v2", caption="", caption_origin="d/c.v2.txt"),
    ]


@pytest.mark.parametrize(
    ("key", "extensions"),
    [
        ("image_directory", "png jpg jpeg webp bmp avif jxl gif PNG Jpg"),
        ("video_directory", "mp4 webm avi mkv mov flv wmv m4v mpg mpeg MP4 MoV"),
    ],
)
def test_every_kind_of_file_is_known_in_any_case(key: str, extensions: str):
    names = [f"d/{number:02}.{extension}" for number, extension in enumerate(extensions.split())]
    write(dict.fromkeys(names, ""))
    assert [source.media for source in listed(**{key: "d"})] == names


@pytest.mark.parametrize(("key", "name"), [("image_directory", "a.png"), ("video_directory", "a.mp4")])
def test_without_a_caption_file_an_item_is_there_without_caption(key: str, name: str):
    write({f"d/{name}": ""})
    (source,) = listed(**{key: "d"})
    assert (source.caption, source.caption_origin) == (None, "d/a.txt")


def test_captions_may_have_another_extension():
    write({"d/a.png": "", "d/a.txt": "wrong", "d/a.caption": "right"})
    assert listed(image_directory="d", caption_extension=".caption")[0].caption == "right"


def test_a_directory_at_a_url_is_listed_alike():
    MemoryFileSystem.store.clear()
    system = MemoryFileSystem()
    system.pipe({"/set/b.mp4": b"", "/set/b.txt": b"a fox"})
    (source,) = listed(video_directory="memory://set")
    assert (source.stem, source.caption, source.media) == ("b", "a fox", "memory:///set/b.mp4")


def test_a_directory_without_what_is_looked_for_says_what_it_holds():
    write({"d/a.png": "", "e/a.txt": ""})
    assert problems(video_directory="d") == ["d: holds no clips. It holds pictures: write image_directory."]
    assert problems(image_directory="e") == [
        "e: holds no pictures. Check the path; `folder` reads inner folders too."
    ]
    assert problems(image_directory="f") == ["f: there is no such folder. Check the path."]


def test_unreadable_captions_are_all_named():
    write({f"d/{name}.{end}": b"\xff" for name in "abc" for end in ("mp4", "txt")} | {"d/b.txt": "fine"})
    assert problems(video_directory="d") == [
        f"d/{name}.txt: is not text in UTF-8. Save it as UTF-8." for name in "ac"
    ]


def test_two_media_of_one_stem_are_refused_with_both_paths():
    write({"d/a.mp4": "", "d/a.mov": "", "d/b.mp4": ""})
    (line,) = problems(video_directory="d")
    assert line.startswith(
        "d/a.mp4: has the same name as d/a.mov, so that their cache files would be the same"
    )


def test_control_pictures_go_by_name_and_number():
    pictures = ["a.png", "a_1.png", "b.png"]
    controls = ["a.jpg", "a_10.png", "a_2.png", "a_1.png", "a_1_0.png", "b_0.webp", "b.txt", "c.png"]
    write({f"d/{name}": "" for name in pictures} | {f"c/{name}": "" for name in controls})
    found = {source.stem: source.controls for source in listed(image_directory="d", control_directory="c")}
    assert found == {
        "a": ("c/a.jpg", "c/a_2.png", "c/a_10.png"),
        "a_1": ("c/a_1.png", "c/a_1_0.png"),
        "b": ("c/b_0.webp",),
    }


def test_a_clip_has_one_control_of_its_name():
    write({"d/a.mp4": "", "d/b.mp4": "", "d/c.mp4": "", "c/a.webm": "", "c/b.png": "", "c/c/0.png": ""})
    sources = listed(video_directory="d", control_directory="c")
    assert [source.controls for source in sources] == [("c/a.webm",), ("c/b.png",), ("c/c",)]


def test_missing_and_double_controls_are_refused():
    write({"d/a.png": "", "d/b.png": "", "d/c.png": "", "c/a.png": "", "e/a_0.png": "", "e/a_0.jpg": ""})
    assert problems(image_directory="d", control_directory="c") == [
        f"d/{name}.png: there is no control of its name in c. Add one, or take it out of the data set."
        for name in "bc"
    ]
    assert problems(image_directory="d", control_directory="e") == [
        "e/a_0.png: has the same name and number as e/a_0.jpg. Keep one of them."
    ]


def test_the_lines_of_a_jsonl_file_are_items():
    write(
        {
            "sets/clips.jsonl": b"\xef\xbb\xbf"
            + lines(
                {"video_path": "here.mp4", "caption": " a fox "},
                {"video_path": "beside.mp4", "caption": "b", "control_path": "here.mp4", "extra": 1},
            ).encode()
            + b"\n\n"
            + lines({"video_path": "frames.v2"}).encode(),
            "here.mp4": "",
            "sets/beside.mp4": "",
            "frames.v2/0.png": "",
        }
    )
    origin = "sets/clips.jsonl line"
    assert listed(video_jsonl_file="sets/clips.jsonl") == [
        Source(media="here.mp4", kind="video", stem="here", caption="a fox", caption_origin=f"{origin} 1"),
        Source(
            media="sets/beside.mp4",
            kind="video",
            stem="beside",
            caption="b",
            caption_origin=f"{origin} 2",
            controls=("here.mp4",),
        ),
        Source(media="frames.v2", kind="video", stem="frames.v2", caption=None, caption_origin=f"{origin} 4"),
    ]


def test_controls_of_a_line_are_in_the_order_of_their_numbers():
    names = ["a", "c", "c0", "c2", "c10"]
    record = {
        "image_path": "a.png",
        "caption": "x",
        "control_path_10": "c10.png",
        "control_path_2": "c2.png",
        "control_path_0": "c0.png",
        "control_path": "c.png",
    }
    write({f"{name}.png": "" for name in names} | {"d.jsonl": lines(record)})
    (source,) = listed(image_jsonl_file="d.jsonl")
    assert source.controls == ("c.png", "c0.png", "c2.png", "c10.png")


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{", "is no JSON: Expecting property name"),
        ("[1]", 'is no object. Write {"video_path": "a.mp4", "caption": "..."}.'),
        ("{}", "video_path: is missing. The line is empty."),
        ('{"video_pth": "a.mp4"}', "video_path: is missing. Did you mean video_pth?"),
        (
            '{"image_path": "a.png"}',
            "video_path: is missing. With image_path, name the file as image_jsonl_file",
        ),
        ('{"video_path_0": "a"}', "video_path_0: no model here trains on several target pictures."),
        ('{"video_path": 3}', "video_path: 3 is no path. Write it in quotes."),
        ('{"video_path": " "}', "video_path: ' ' is no path."),
        ('{"video_path": "no.mp4"}', "no.mp4: there is no such file. Check the path."),
        ('{"video_path": "a\\u0000"}', "a\0: there is no such file. Check the path."),
        ('{"video_path": "a.mp4", "caption": 3}', "caption: 3 is no text. Write it in quotes."),
        ('{"video_path": "a.mp4", "captoin": "x"}', "captoin: unknown key. Did you mean caption?"),
        ('{"video_path": "a.mp4", "control_path": "c.mp4"}', "c.mp4: there is no such file. Check the path."),
        ("[" * 5000, "is no JSON: maximum recursion depth"),
    ],
    ids=lambda text: text[:40].replace("\0", ""),
)
def test_a_wrong_line_is_named_with_its_file_and_number(line: str, problem: str):
    write({"a.mp4": "", "b.mp4": "", "d.jsonl": lines({"video_path": "b.mp4"}) + f"\n\n{line}\n"})
    (told,) = problems(video_jsonl_file="d.jsonl")
    assert told.startswith(f"d.jsonl line 3: {problem}")


def test_every_wrong_line_is_told_and_the_others_are_items():
    records = [{"video_path": f"{number}.mp4"} for number in range(50)]
    write({"7.mp4": "", "40.mp4": "", "d.jsonl": lines(*records)})
    told = problems(video_jsonl_file="d.jsonl")
    assert told[0] == "d.jsonl line 1: 0.mp4: there is no such file. Check the path."
    assert told[7] == "d.jsonl line 9: 8.mp4: there is no such file. Check the path."
    assert len(told) == 48
    found = list_sources(DatasetConfig(video_jsonl_file="d.jsonl"))
    assert [each.media for each in found if isinstance(each, Source)] == ["7.mp4", "40.mp4"]


def test_a_file_named_twice_is_refused_with_both_lines():
    write({"a.mp4": "", "b.mp4": "", "x/a.mov": ""})
    write({"d.jsonl": lines(*({"video_path": name} for name in ("a.mp4", "b.mp4", "a.mp4")))})
    write({"e.jsonl": lines(*({"video_path": name} for name in ("a.mp4", "x/a.mov")))})
    assert problems(video_jsonl_file="d.jsonl") == [
        "a.mp4: is named twice, with d.jsonl line 1 and d.jsonl line 3."
        " Remove one; num_repeats makes items come more often."
    ]
    assert problems(video_jsonl_file="e.jsonl")[0].startswith("x/a.mov: has the same name as a.mp4")


def test_an_empty_jsonl_file_is_refused():
    write({"d.jsonl": "\n"})
    assert problems(video_jsonl_file="d.jsonl") == ["d.jsonl: holds no items. Check the path."]
    assert problems(video_jsonl_file="e.jsonl") == ["e.jsonl: there is no such file. Check the path."]


def test_a_name_that_is_no_text_is_refused(folder: Path):
    name = b"caf\xe9.mp4"
    try:
        (folder / "d").mkdir()
        Path(str(folder / "d"), name.decode("utf-8", "surrogateescape")).touch()
    except OSError:
        pytest.skip("this file system takes no such names")
    assert problems(video_directory="d") == ["d/caf\\udce9.mp4: its name is not UTF-8. Rename it."]


def test_a_long_jsonl_file_is_not_held_in_memory():
    num_lines = 5_000
    with Path("d.jsonl").open("w") as file:
        file.writelines(
            json.dumps({"video_path": f"s3://bucket/{number}.mp4", "caption": "x" * 1000}) + "\n"
            for number in range(num_lines)
        )
    tracemalloc.start()
    num_sources = sum(1 for _ in list_sources(DatasetConfig(video_jsonl_file="d.jsonl")))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert num_sources == num_lines
    assert peak < 500 * num_lines, "less than half of what the captions alone are"


texts = st.text(max_size=8)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts | st.just("a.mp4"),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=4,
)
record_keys = st.sampled_from(["video_path", "caption", "control_path", "control_path_3", "x"])
records = st.dictionaries(record_keys, json_values, max_size=4).map(json.dumps)
VALID = b'{"video_path": "a.mp4", "caption": "a fox", "control_path_0": "a.mp4"}\n'
mutations = st.tuples(st.integers(0, len(VALID)), st.integers(0, 9), st.binary(max_size=6)).map(
    lambda change: VALID[: change[0]] + change[2] + VALID[change[0] + change[1] :]
)


@given(content=st.binary(max_size=60) | records.map(str.encode) | mutations)
def test_no_jsonl_file_is_more_than_refused(tmp_path_factory, content: bytes):
    folder = tmp_path_factory.getbasetemp()
    (folder / "a.mp4").touch()
    (folder / "fuzzed.jsonl").write_bytes(content)
    assert all(problems(video_jsonl_file=str(folder / "fuzzed.jsonl")))


@given(content=st.binary(max_size=60))
def test_no_caption_is_more_than_refused(tmp_path_factory, content: bytes):
    folder = tmp_path_factory.getbasetemp() / "fuzzed-captions"
    folder.mkdir(exist_ok=True)
    (folder / "a.mp4").touch()
    (folder / "a.txt").write_bytes(content)
    (found,) = list_sources(DatasetConfig(video_directory=str(folder)))
    if isinstance(found, Source):
        assert found.caption == content.decode("utf-8-sig").strip()
    else:
        assert str(folder / "a.txt") in str(found)
