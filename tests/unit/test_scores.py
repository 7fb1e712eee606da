"""Scores of items are read wherever lists and files give them."""

import json
import tarfile
from pathlib import Path

import pytest

from .listed_sources import listed, problems


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).touch()
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("a ball")
    return tmp_path


def scores(**keys) -> dict[str, float | None]:
    return {source.stem: source.score for source in listed(**keys)}


@pytest.mark.parametrize("key", ["folder", "video_directory"])
def test_a_file_beside_a_clip_gives_its_score(key, folder):
    (folder / "a.score").write_text(" 0.75\n")
    assert scores(**{key: str(folder)}) == {"a": 0.75, "b": None}


def test_a_column_of_a_table_gives_scores(folder):
    (folder / "metadata.csv").write_text("file_name,caption,score\na.mp4,x,-2\nb.mp4,y,\n")
    assert scores(folder=str(folder)) == {"a": -2.0, "b": None}


def test_a_key_of_lines_gives_scores(folder):
    lines = [{"video_path": str(folder / "a.mp4"), "caption": "x", "score": 3}]
    lines.append({"video_path": str(folder / "b.mp4"), "caption": "y"})
    (folder / "clips.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert scores(video_jsonl_file=str(folder / "clips.jsonl")) == {"a": 3.0, "b": None}


def test_a_list_of_scores_goes_with_lists_of_prompts_and_clips(folder):
    for name, text in (("prompts", "x\ny\n"), ("videos", "a.mp4\nb.mp4\n"), ("scores", "1e-2\n5\n")):
        (folder / f"{name}.txt").write_text(text)
    assert scores(folder=str(folder)) == {"a": 0.01, "b": 5.0}


def test_members_of_tar_files_give_scores(folder):
    (folder / "b.json").write_text('{"caption": "y", "score": 0.5}')
    (folder / "a.score").write_text("0.25")
    with tarfile.open(folder / "shard.tar", "w") as archive:
        for name in ("a.mp4", "a.txt", "a.score", "b.mp4", "b.json"):
            archive.add(folder / name, name)
    assert scores(folder=str(folder / "shard.tar")) == {"a": 0.25, "b": 0.5}


@pytest.mark.parametrize("said", ["good", "nan", ""])
def test_what_is_no_number_is_told_with_its_place(said, folder):
    (folder / "a.score").write_text(said)
    assert problems(folder=str(folder)) == [
        f"{folder / 'a.score'}: {said!r} is no number. Write one, as 0.75, or leave it out."
    ]
