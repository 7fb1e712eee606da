"""Progress of a job, told from its events alone."""

import pytest

from reelwright.core.events import (
    ClipFinished,
    Failed,
    Finished,
    PreviewSaved,
    StageStarted,
    StepDone,
    to_json,
)
from reelwright.web.following import Progress, duration, follow

_START = {"event": "job", "state": "running"}


def _numbered(*events, first=1):
    told = [event if isinstance(event, dict) else to_json(event) for event in events]
    return [{"number": number, **event} for number, event in enumerate(told, start=first)]


def test_stage_step_pace_and_memory_follow_the_events():
    seen = follow(
        Progress(),
        _numbered(
            _START,
            StageStarted("denoise", 10),
            StepDone("denoise", 1, 10, 4.0, 100),
            StepDone("denoise", 2, 10, 2.0, 300),
        ),
    )
    assert (seen.stage, seen.step, seen.total, seen.peak_memory, seen.last) == ("denoise", 2, 10, 300, 4)
    assert 2.0 < seen.seconds_per_step < 4.0
    assert seen.seconds_left == pytest.approx(8 * seen.seconds_per_step)
    assert seen.share == pytest.approx(0.2)


def test_events_in_two_parts_come_to_the_same_as_at_once():
    events = _numbered(
        _START,
        StageStarted("denoise", 2),
        StepDone("denoise", 1, 2, 1.0),
        PreviewSaved("preview.png", 1),
        ClipFinished(1, 1, {"video": "clip-001.mp4"}),
        Finished(({"video": "clip-001.mp4"},), 9.0, 700),
    )
    for cut in range(len(events)):
        assert follow(follow(Progress(), events[:cut]), events[cut:]) == follow(Progress(), events)


def test_the_end_names_the_files_once():
    files = {"video": "clip-001.mp4"}
    seen = follow(Progress(), _numbered(_START, ClipFinished(1, 1, files), Finished((files,), 9.0, 700)))
    assert seen.files == (files,)
    assert (seen.is_over, seen.seconds, seen.peak_memory) == (True, 9.0, 700)


def test_a_second_attempt_starts_anew_and_forgets_the_error():
    failed = follow(
        Progress(), _numbered(_START, StepDone("denoise", 5, 10, 1.0), Failed("UserError", "no disk"))
    )
    assert failed.error == "no disk"
    again = follow(failed, _numbered(_START, first=4))
    assert (again.error, again.step, again.is_over, again.last) == ("", 0, False, 4)


def test_without_a_total_nobody_says_how_long_it_takes():
    seen = follow(Progress(), _numbered(StageStarted("load networks"), StepDone("load networks", 1, 0, 1.0)))
    assert seen.seconds_left is None
    assert seen.share == 0.0


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.24, "0.2 s"), (12.6, "13 s"), (61, "1 min 1 s"), (3600 * 2 + 61, "2 h 1 min")]
)
def test_times_are_told_in_words(seconds, words):
    assert duration(seconds) == words
