"""The record in an output."""

import json

import pytest

from reelwright.core.errors import FileError
from reelwright.core.provenance import Provenance, library_versions

RECORD = Provenance(
    version="0.1.0",
    workflow="generate",
    family="toy",
    config={"seed": 7, "prompt": "Füchse", "execution": {"dtype": "float32"}},
    models={"transformer": "ab12"},
    inputs={"image": {"path": "fox.png", "sha256": "cd34"}},
    versions={"torch": "2.13.0"},
)


def test_a_record_reads_back_as_it_was_written():
    assert Provenance.from_json(RECORD.to_json(), "clip.mp4") == RECORD


def test_the_same_facts_give_the_same_text_in_whatever_order():
    shuffled = json.dumps(dict(reversed(json.loads(RECORD.to_json()).items())), indent=2)
    assert Provenance.from_json(shuffled, "clip.mp4").to_json() == RECORD.to_json()


def test_keys_of_a_later_version_are_ignored():
    text = json.dumps({**json.loads(RECORD.to_json()), "weather": "fine"})
    assert Provenance.from_json(text, "clip.mp4") == RECORD


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"version": 1, "workflow": "a", "family": "b", "config": {}}']
)
def test_what_is_no_record_is_refused_with_the_name_of_the_file(text: str):
    with pytest.raises(FileError, match=r"clip\.mp4: .*Give the original file"):
        Provenance.from_json(text, "clip.mp4")


def test_the_versions_of_what_decides_the_numbers_are_known():
    assert {"torch", "numpy", "av"} <= set(library_versions())
