"""Sections on disk: found by their key, told of when they are damaged."""

import json
from pathlib import Path

import pytest
import torch

from reelwright.protocols.family import Section
from reelwright.workflows.clips.sections import MANIFEST, SectionShelf

KEYS = [character * 64 for character in "abc"]


def section_of(index: int, key: str) -> Section:
    latents = torch.full((1, 2, 3, 4, 4), float(index))
    facts = {"prompt": f"part {index}"}
    return Section(key=key, index=index, total=3, latents_BCTHW=latents, facts=facts, fps=30)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A shelf with three sections, made from the last to the first."""
    shelf = SectionShelf(tmp_path / "clip-001")
    for index, key in zip((2, 1, 0), KEYS, strict=True):
        shelf.keep(section_of(index, key))
    return tmp_path / "clip-001"


def file_of(folder: Path, index: int) -> Path:
    (file,) = folder.glob(f"section-{index:03d}_*.safetensors")
    return file


def test_what_was_kept_is_found_by_its_key_alone(folder):
    shelf = SectionShelf(folder)
    assert shelf.notices == []
    assert [float(shelf.find(key).mean()) for key in KEYS] == [2.0, 1.0, 0.0]
    assert shelf.find("d" * 64) is None


def test_the_manifest_lists_sections_in_the_order_made_with_their_facts(folder):
    lines = json.loads((folder / MANIFEST).read_text())["sections"]
    assert [line["index"] for line in lines] == [2, 1, 0]
    assert [line["facts"]["prompt"] for line in lines] == ["part 2", "part 1", "part 0"]
    assert all((folder / line["file"]).is_file() for line in lines)


def test_keeping_a_section_again_writes_no_file(folder):
    before = file_of(folder, 1).stat().st_mtime_ns
    shelf = SectionShelf(folder)
    assert shelf.keep(section_of(1, KEYS[1])) == file_of(folder, 1)
    assert file_of(folder, 1).stat().st_mtime_ns == before


def test_another_version_of_a_section_stands_beside_the_first(folder):
    SectionShelf(folder).keep(section_of(1, "e" * 64))
    shelf = SectionShelf(folder)
    assert shelf.find("e" * 64) is not None
    assert shelf.find(KEYS[1]) is not None


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda file: file.unlink(), "is missing"),
        (lambda file: file.write_bytes(file.read_bytes()[:-5]), "is damaged"),
        (lambda file: file.write_bytes(file.read_bytes()[:-5] + b"\x00\x01\x02\x03\x04"), "is damaged"),
        (lambda file: file.write_bytes(b""), "is damaged"),
    ],
)
def test_a_damaged_section_is_absent_and_told_of_and_the_others_stay(folder, damage, reason):
    file = file_of(folder, 1)
    damage(file)
    shelf = SectionShelf(folder)
    (notice,) = shelf.notices
    assert str(file) in notice
    assert reason in notice
    assert "section 1" in notice
    assert shelf.find(KEYS[1]) is None
    assert shelf.find(KEYS[0]) is not None
    assert shelf.find(KEYS[2]) is not None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"sections": [{"key": 1}]}', '{"sections": 5}', "\x00\xff"])
def test_a_damaged_manifest_is_made_again_from_the_files(folder, text):
    (folder / MANIFEST).write_text(text)
    shelf = SectionShelf(folder)
    assert [MANIFEST in notice for notice in shelf.notices] == [True]
    assert all(shelf.find(key) is not None for key in KEYS)


def test_without_a_manifest_a_damaged_section_is_still_told_from_a_whole_one(folder):
    (folder / MANIFEST).unlink()
    file = file_of(folder, 1)
    file.write_bytes(file.read_bytes()[:-1] + b"\x01")
    shelf = SectionShelf(folder)
    assert shelf.notices == [f"{file}: is damaged; its section is made again."]
    assert shelf.find(KEYS[1]) is None
    assert shelf.find(KEYS[0]) is not None


def test_a_section_that_the_manifest_missed_is_found(folder):
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["sections"].pop()
    (folder / MANIFEST).write_text(json.dumps(manifest))
    shelf = SectionShelf(folder)
    assert shelf.notices == []
    assert shelf.find(KEYS[2]) is not None


def test_a_manifest_cannot_lead_out_of_its_folder(folder, tmp_path):
    outside = tmp_path / "outside.safetensors"
    outside.write_bytes(file_of(folder, 0).read_bytes())
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["sections"][2] |= {"file": "../outside.safetensors", "key": "f" * 64}
    (folder / MANIFEST).write_text(json.dumps(manifest))
    assert SectionShelf(folder).find("f" * 64) is None
