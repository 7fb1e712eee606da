"""Suggestions for words that are nearly right."""

import pytest

from reelwright.core.errors import (
    CheckpointError,
    ConfigError,
    FileError,
    MemoryLimitError,
    UserError,
    nearest,
    suggestion,
)


@pytest.mark.parametrize(
    ("word", "choices", "expected"),
    [
        ("stepz", ["steps", "seed"], "steps"),
        ("NUM-FRAMES", ["num_frames", "num_videos"], "num_frames"),
        ("guidance_scal", ["guidance-scale"], "guidance-scale"),
        ("xyzzy", ["steps", "seed"], None),
        ("steps", [], None),
    ],
)
def test_the_nearest_word_is_found_whatever_its_case_and_dashes(word, choices, expected):
    assert nearest(word, choices) == expected


def test_a_suggestion_lists_everything_when_nothing_is_near():
    assert suggestion("stepz", ["steps", "seed"]) == "Did you mean steps?"
    assert suggestion("xyzzy", ["steps", "seed"]) == "Choose one of: steps, seed."


def test_each_kind_of_error_has_its_exit_code():
    kinds = (UserError, ConfigError, FileError, CheckpointError, MemoryLimitError)
    assert [kind.exit_code for kind in kinds] == [1, 2, 1, 1, 3]
    assert issubclass(CheckpointError, FileError)
