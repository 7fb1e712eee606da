"""Progress as bars on a terminal and as lines elsewhere."""

import io

from rich.console import Console

from reelwright.cli.progress import Bars, PlainLines, memory_text
from reelwright.core.events import (
    ClipFailed,
    ClipFinished,
    Event,
    Failed,
    Finished,
    Measured,
    Notice,
    PreviewSaved,
    PromptAwaited,
    StageStarted,
    StepDone,
)


def steps(total: int) -> list[Event]:
    return [StepDone("denoise", step, total, 0.5, peak_memory=3_000_000_000) for step in range(1, total + 1)]


def plain(*events: Event) -> list[str]:
    stream = io.StringIO()
    sink = PlainLines(stream)
    for event in events:
        sink(event)
    return stream.getvalue().splitlines()


def bars(*events: Event) -> str:
    stream = io.StringIO()
    sink = Bars(Console(file=stream, force_terminal=True, width=120, color_system=None))
    for event in events:
        sink(event)
    sink.stop()
    return stream.getvalue()


def test_a_log_has_at_most_ten_lines_for_a_stage():
    lines = plain(StageStarted("denoise", 1000), *steps(1000))
    assert len(lines) == 11
    assert lines[1] == "denoise: 100/1000, 0.50 s/step, 450 s left, peak memory 3.0 GB".replace(
        "peak memory ", ""
    )


def test_a_log_starts_counting_again_with_each_stage():
    lines = plain(StageStarted("denoise", 2), *steps(2), StageStarted("denoise", 2), *steps(2))
    assert [line.split(",")[0] for line in lines] == [
        "denoise: 2 steps",
        "denoise: 1/2",
        "denoise: 2/2",
    ] * 2


def test_stages_of_unknown_length_are_named_only():
    assert plain(StageStarted("load"), StepDone("load", 1, 0, 0.1)) == ["load"]


def test_a_preview_is_told_of_once_and_clips_are_counted():
    preview = PreviewSaved("run/preview.png", 10)
    lines = plain(preview, preview, ClipFinished(1, 2, {}), ClipFinished(1, 1, {}), Notice("careful"))
    assert lines == [
        "preview, renewed as it goes: run/preview.png",
        "clip 1 of 2 is done",
        "note: careful",
    ]


def test_a_clip_of_nobody_knows_how_many_is_told_with_its_file():
    files = {"latent": "run/a.safetensors", "video": "run/a.mp4", "contact_sheet": "run/a.png"}
    lines = plain(ClipFinished(3, 0, files), ClipFailed(4, 0, "no memory"), ClipFailed(2, 5, "NaN"))
    assert lines == ["clip 3: run/a.mp4", "clip 4 failed: no memory", "clip 2 of 5 failed: NaN"]


def test_bars_end_where_a_prompt_is_awaited_and_the_next_ones_are_new():
    text = bars(StageStarted("first", 4), *steps(2), PromptAwaited(2), StageStarted("second", 4), *steps(2))
    before, after = text[: text.index("second")], text[text.index("second") :]
    assert "first" in before
    assert "first" not in after


def test_bars_show_stage_steps_pace_and_memory_and_end_full():
    text = bars(StageStarted("load"), StageStarted("denoise", 4), *steps(4), Finished((), 2.0))
    last = text[text.rindex("load") :]
    assert "4/4" in last
    assert "0.50 s/step" in last
    assert "3.0 GB" in last
    assert "done in 2.0 s" in text


def measured(step: int, total: int, **more: float) -> Measured:
    return Measured(step, total, {"loss": 1 / step, "seconds": 0.5, "peak_memory": 3e9, **more})


def test_training_has_a_bar_that_goes_on_while_clips_are_made_in_between():
    text = bars(
        StageStarted("train", 8),
        StepDone("train", 1, 8, 0.5),
        *(measured(step, 8) for step in (1, 2)),
        StageStarted("decode", 4),
        *steps(4),
        *(measured(step, 8, smoothed_loss=0.25) for step in (3, 4)),
    )
    last = text[text.rindex("train") :]
    assert "4/8  loss 0.2500" in last
    assert "0.50 s/step" in last
    assert "3.0 GB" in last
    assert "decode" in text
    assert "decode" not in last


def test_a_run_that_is_resumed_is_told_the_time_that_its_own_steps_take():
    start = StageStarted("train", 1000)
    lines = plain(
        start,
        measured(901, 1000),
        StepDone("train", 902, 1000, 0.5),
        measured(902, 1000),
        measured(920, 1000),
    )
    assert lines == [
        "train: 1000 steps",
        "train: 901/1000, loss 0.0011, 0.50 s/step, 50 s left, 3.0 GB",
        "train: 920/1000, loss 0.0011, 0.50 s/step, 40 s left, 3.0 GB",
    ]


def test_a_log_counts_no_steps_of_stages_within_training():
    lines = plain(measured(1, 2), StageStarted("decode", 4), *steps(4), measured(2, 2))
    assert [line.partition(",")[0] for line in lines] == ["train: 1/2", "decode: 4 steps", "train: 2/2"]


def test_a_log_has_at_most_fifty_lines_for_training_and_each_validation():
    assert len(plain(*(measured(step, 1600) for step in range(1, 1601)))) == 50
    validation = Measured(100, 1600, {"validation_loss": 0.5, "validation_loss/0.1": 0.25})
    line = "step 100/1600: validation_loss 0.5, validation_loss/0.1 0.25"
    assert plain(validation) == [line]
    assert line in bars(validation)


def test_brackets_in_messages_are_not_markup():
    text = bars(Notice("use [execution] first"), StageStarted("a [red] stage", 1), Failed("X", "no"))
    assert "note: use [execution] first" in text
    assert "a [red] stage" in text


def test_a_failure_gives_the_terminal_back():
    stream = io.StringIO()
    sink = Bars(Console(file=stream, force_terminal=True))
    sink(StageStarted("denoise", 4))
    hidden, shown = "\x1b[?25l", "\x1b[?25h"
    assert hidden in stream.getvalue()
    assert shown not in stream.getvalue()
    sink(Failed("FileError", "the disk is full"))
    assert stream.getvalue().rindex(shown) > stream.getvalue().rindex(hidden)


def test_memory_is_written_as_people_read_it():
    assert [memory_text(size) for size in (0, 350_000_000, 1_250_000_000)] == ["", "350 MB", "1.2 GB"]
