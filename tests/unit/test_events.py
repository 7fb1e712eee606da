"""Events as JSON."""

import json

from reelwright.core.events import Finished, Measured, Notice, StepDone, to_json


def test_an_event_becomes_json_with_its_name_first():
    record = to_json(StepDone("denoise", 3, 50, 0.25, peak_memory=1000))
    assert list(record.items()) == [
        ("event", "step_done"),
        ("stage", "denoise"),
        ("step", 3),
        ("total", 50),
        ("seconds", 0.25),
        ("peak_memory", 1000),
    ]
    assert to_json(Notice("hello")) == {"event": "notice", "message": "hello"}


def test_a_measured_number_that_is_not_finite_becomes_null():
    event = Measured(3, 50, {"loss": float("nan"), "gradient_norm": float("inf"), "rate": 0.5})
    values = {"loss": None, "gradient_norm": None, "rate": 0.5}
    assert to_json(event) == {"event": "measured", "step": 3, "total": 50, "values": values}


def test_the_files_of_all_clips_survive_json():
    event = Finished(({"video": "a.mp4"}, {"video": "b.mp4"}), seconds=2.0)
    assert json.loads(json.dumps(to_json(event)))["files"] == [{"video": "a.mp4"}, {"video": "b.mp4"}]
