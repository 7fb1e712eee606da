"""What is said of an item from facts alone, what a data set comes to, and what a repair leaves of a clip."""

from dataclasses import replace

import pytest

from reelwright.core import optional_library
from reelwright.core.errors import ConfigError
from reelwright.data.lint import libraries
from reelwright.data.lint.captions import TokenLimit, find_caption_faults
from reelwright.data.lint.checks import check
from reelwright.data.lint.findings import Subject
from reelwright.data.lint.look import Look
from reelwright.data.lint.repair import plan_repair
from reelwright.data.lint.totals import Totals
from reelwright.protocols.caching import CacheEntry
from reelwright.protocols.clips import Clip, ClipRule, MediaFacts, Source
from reelwright.protocols.datasets import DatasetConfig

RULE = ClipRule(fps=30.0, frame_step=4, min_frames=37, default_size=(640, 480), kinds=("video", "image"))
SOURCE = Source(media="a.mp4", kind="video", stem="a", caption="a ball", caption_origin="a.txt")
DATASET = DatasetConfig(video_directory="clips")


def subject(*, num_frames=90, fps=30.0, size=(640, 480), dataset=DATASET, rule=RULE, source=SOURCE, **seen):
    duration = num_frames / fps if fps else num_frames / 25
    facts = MediaFacts(
        size=size, num_frames=num_frames, fps=fps, duration=duration if fps else 0.0, content="0"
    )
    interval = duration / num_frames
    look = Look(
        size=size,
        num_frames=num_frames,
        duration=duration,
        **{"longest_interval": interval, "shortest_interval": interval, **seen},
    )
    return Subject(source=source, dataset=dataset, rule=rule, facts=facts, look=look)


def told(item):
    return {finding.kind: (finding.severity, finding.message) for finding in check(item)}


def test_an_ordinary_clip_has_nothing_wrong():
    assert told(subject()) == {}


@pytest.mark.parametrize(
    ("num_frames", "fps", "missing"), [(36, 30.0, 1), (20, 30.0, 17), (18, 15.0, 1), (60, 60.0, 7)]
)
def test_a_short_clip_is_told_with_what_is_missing_at_the_rate_of_the_model(num_frames, fps, missing):
    severity, message = told(subject(num_frames=num_frames, fps=fps))["short"]
    assert severity == "error"
    assert f"by {missing} frames" in message


def test_the_shortest_length_that_a_data_set_names_is_needed():
    dataset = replace(DATASET, target_frames=(81, 122))
    assert "by 1 frames" in told(subject(num_frames=80, dataset=dataset))["short"][1]
    assert told(subject(num_frames=81, dataset=dataset)) == {}


def test_a_clip_of_which_one_frame_is_left_is_told():
    rule = replace(RULE, min_frames=1)
    assert told(subject(num_frames=4, rule=rule))["short"][0] == "warning"
    assert told(subject(num_frames=5, rule=rule)) == {}


def test_what_is_trimmed_counts_as_missing():
    dataset = replace(DATASET, trim_seconds=1.0)
    assert "short" not in told(subject(num_frames=97, dataset=dataset))
    assert "by 1 frames" in told(subject(num_frames=96, dataset=dataset))["short"][1]


@pytest.mark.parametrize(
    ("fps", "severity"),
    [(30000 / 1001, None), (30.0, None), (60.0, "note"), (25.0, "warning"), (8.0, "warning")],
)
def test_other_rates_are_notes_and_lower_ones_warnings(fps, severity):
    found = told(subject(fps=fps, num_frames=100)).get("fps")
    assert (found and found[0]) == severity


def test_the_rate_that_a_data_set_names_counts():
    assert told(subject(fps=60.0, dataset=replace(DATASET, source_fps=30.0))) == {}
    assert told(subject(fps=16.0, dataset=replace(DATASET, target_fps=16.0))) == {}


def test_enlarging_and_low_resolution_are_told_with_how_much():
    assert "1.3 times" in told(subject(size=(480, 360)))["upscaled"][1]
    assert "4.0 times" in told(subject(size=(160, 120)))["low-resolution"][1]
    unlimited = replace(DATASET, enable_bucket=True, bucket_no_upscale=True)
    assert told(subject(size=(160, 128), dataset=unlimited)) == {}


def test_what_a_crop_takes_away_is_told():
    message = told(subject(size=(1920, 640)))["aspect"][1]
    assert "56 % are cut away" in message
    assert told(subject(size=(800, 500))) == {}


def test_of_a_clip_that_breaks_off_only_that_is_told():
    assert told(subject(num_frames=5, error="breaks off")) == {"unreadable": ("error", "breaks off")}


@pytest.mark.parametrize(
    ("caption", "severity", "word"),
    [(None, "error", "no caption"), (" ", "warning", "empty"), ("one two three", "warning", "3 tokens")],
)
def test_captions_that_are_missing_empty_or_too_long(caption, severity, word):
    limit = TokenLimit(max_tokens=2, count_tokens=lambda text: len(text.split()))
    (finding,) = find_caption_faults(replace(SOURCE, caption=caption), limit)
    assert (finding.severity, finding.kind) == (severity, "caption")
    assert word in finding.message
    assert "a.txt" in finding.message
    assert list(find_caption_faults(replace(SOURCE, caption="one two"), limit)) == []


def test_without_a_tokenizer_no_caption_is_too_long():
    assert list(find_caption_faults(replace(SOURCE, caption="word " * 1000), None)) == []


def spans(plan):
    return [(round(piece.start, 3), piece.num_frames) for piece in plan.pieces]


def test_a_clip_without_faults_is_copied_as_it_is():
    plan = plan_repair(subject())
    assert (plan.pieces, plan.reason) == ((), "")


def test_scenes_are_set_apart_and_those_too_short_are_left_out():
    item = subject(num_frames=150, cuts=(1.5, 2.0))
    assert spans(plan_repair(item)) == [(0.0, 45), (2.0, 90)]
    assert "long enough" in plan_repair(subject(num_frames=60, cuts=(1.0,))).reason


def test_still_ends_are_trimmed_scene_by_scene():
    item = subject(num_frames=300, cuts=(5.0,), stills=((0.0, 2.0), (5.0, 6.5), (9.0, 10.0)))
    assert spans(plan_repair(item)) == [(2.0, 90), (6.5, 75)]


def test_bars_are_cut_off_unless_control_pictures_have_to_match():
    box = (0, 60, 640, 420)
    assert [piece.box for piece in plan_repair(subject(content_box=box)).pieces] == [box]
    controlled = replace(SOURCE, controls=("control.png",))
    assert plan_repair(subject(content_box=box, source=controlled)).pieces == ()


def test_what_is_mostly_blank_or_still_is_left_out():
    assert "nothing to see" in plan_repair(subject(blank=2.0)).reason
    assert "moves" in plan_repair(subject(stills=((0.0, 2.9),))).reason


def test_what_the_data_set_trims_is_trimmed_in_the_copy():
    assert spans(plan_repair(subject(dataset=replace(DATASET, trim_seconds=0.5)))) == [(0.5, 60)]


def test_an_unsteady_clip_becomes_a_steady_one_and_a_steady_one_keeps_its_frames():
    unsteady = subject(fps=20.0, num_frames=100, cuts=(2.0,), longest_interval=0.4)
    (piece, _) = plan_repair(unsteady).pieces
    assert (piece.read_fps, piece.write_fps) == (20.0, 20.0)
    (piece, _) = plan_repair(subject(fps=20.0, num_frames=100, cuts=(2.0,))).pieces
    assert (piece.read_fps, piece.write_fps) == (None, 20.0)


def test_totals_count_repeats_and_batches_by_group():
    totals = Totals()
    dataset = replace(DATASET, batch_size=4, num_repeats=3)
    clip = Clip(source=SOURCE, facts=subject().facts, start=0, num_frames=37, size=(64, 32), fps=30.0)
    for number, group in enumerate(["wide", "wide", "tall"]):
        totals.add_clips(0, dataset, [replace(clip, num_frames=37 if number else 73)])
        entry = CacheEntry(name=f"{number}", group=group, num_items=2, num_bytes=1000)
        totals.add_entries(0, [entry])
    totals.add_text(CacheEntry(name="text", group="", num_bytes=500))
    assert totals.num_items == 3 * 6
    assert totals.num_steps == 3 + 2  # 12 wide items and 6 tall ones, by fours
    assert totals.num_bytes == 3500
    assert totals.frame_pixels == 64 * 32 * (73 + 37 + 37)
    assert totals.clips == {((64, 32), 73): 1, ((64, 32), 37): 2}


def test_a_library_that_is_not_there_is_told_with_its_extra(monkeypatch):
    def missing(name):
        raise ImportError("libGL.so.1: cannot open shared object file")

    monkeypatch.setattr(optional_library, "import_module", missing)
    with pytest.raises(ConfigError, match=r"(?s)scenedetect.*libGL.*reelwright\[dataset\]"):
        libraries.optional_library("scenedetect.detectors")
