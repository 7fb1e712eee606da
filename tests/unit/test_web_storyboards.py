"""Storyboards that pages write: what the family's own reader makes of them."""

from pathlib import Path

import pytest

from reelwright import families
from reelwright.core.errors import ConfigError, FileError
from reelwright.families.framepack.story import read_story
from reelwright.web.storyboards import (
    Storyboard,
    count_sections,
    find_storyboard,
    read_storyboard,
    write_storyboard,
)

CONFIGS = families.configs("framepack")
SCHEMA = CONFIGS.STORY


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "somewhere" / "Start.PNG"
    path.parent.mkdir()
    path.write_bytes(b"pixels")
    return path


def board(picture: Path) -> Storyboard:
    first = {"prompt": "it lies", "image": str(picture)}
    return Storyboard(
        whole={"end_image": str(picture)}, parts=(first, {"prompt": "it rolls", "seconds": 2.4})
    )


def test_the_family_reads_what_is_written_with_copies_of_its_pictures(tmp_path: Path, picture: Path):
    path = write_storyboard(tmp_path / "story", board(picture), SCHEMA)
    picture.unlink()
    story = read_story(path, window=9)
    assert [section.prompt for section in story.sections] == ["it lies", "it rolls", "it rolls"]
    assert story.end_image is not None
    assert story.end_image.read_bytes() == b"pixels"
    assert {section.image for section in story.sections} == {story.end_image}, "one copy of one picture"


def test_what_is_written_is_read_back_as_it_was(tmp_path: Path, picture: Path):
    read = read_storyboard(write_storyboard(tmp_path / "story", board(picture), SCHEMA), SCHEMA)
    assert [part["prompt"] for part in read.parts] == ["it lies", "it rolls"]
    assert Path(str(read.parts[0]["image"])).is_absolute()
    again = write_storyboard(tmp_path / "again", read, SCHEMA)
    assert again.read_text() == (tmp_path / "story" / "story.toml").read_text()


def test_lengths_are_whole_sections_of_the_window_that_is_set(picture: Path):
    nine, two = CONFIGS.GENERATE(), CONFIGS.GENERATE(latent_window_size=2)
    assert count_sections(board(picture), SCHEMA, nine) == (1, 2)
    assert count_sections(board(picture), SCHEMA, two) == (1, 9)
    assert SCHEMA.section_seconds(nine) == pytest.approx(36 / 30)


def test_all_that_is_wrong_is_told_with_its_section(tmp_path: Path):
    wrong = Storyboard(parts=({"seed": -5}, {"prompt": "fine"}, {"secnods": 3}))
    with pytest.raises(ConfigError, match=r"(?s)section 1: seed.*section 3: secnods.*seconds"):
        write_storyboard(tmp_path, wrong, SCHEMA)
    with pytest.raises(ConfigError, match="no section yet"):
        write_storyboard(tmp_path, Storyboard(), SCHEMA)


def test_a_picture_that_is_gone_is_named(tmp_path: Path, picture: Path):
    picture.unlink()
    with pytest.raises(FileError, match=r"Start\.PNG"):
        write_storyboard(tmp_path, board(picture), SCHEMA)


def test_a_folder_without_a_storyboard_has_none(tmp_path: Path):
    assert find_storyboard(tmp_path, SCHEMA) is None
    (tmp_path / "story.toml").write_text("section = 3")
    assert find_storyboard(tmp_path, SCHEMA) is None
