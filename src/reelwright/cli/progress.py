"""Progress on stderr: bars on a terminal, plain lines elsewhere."""

import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from reelwright.cli.measured_lines import TRAINING, StepLines, all_values_text, is_step, loss_text
from reelwright.core.events import (
    ClipFailed,
    ClipFinished,
    Event,
    EventSink,
    Failed,
    Finished,
    Measured,
    Notice,
    PreviewSaved,
    PromptAwaited,
    StageStarted,
    StepDone,
    Stopped,
)


@contextmanager
def open_display() -> Generator[EventSink, None, None]:
    """A sink that shows progress until the block ends."""
    if not sys.stderr.isatty():
        yield PlainLines(sys.stderr)
        return
    bars = Bars(Console(stderr=True))
    try:
        yield bars
    finally:
        bars.stop()


class Bars:
    """A bar for each stage with steps, seconds per step, time left and peak memory.

    Training has one of its own with the loss, which goes on while clips are made in between.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._remark = Remarks()
        self._running: TaskID | None = None
        self._training: TaskID | None = None
        self._is_pace_known = False
        self._progress = _empty_bars(console)

    def __call__(self, event: Event, /) -> None:
        match event:
            case StageStarted():
                self._start_stage(event)
            case StepDone():
                self._show_step(event)
            case Measured():
                self._show_measured(event)
            case Finished() | PromptAwaited():
                self._complete_stage()
                self.stop()
                self._training = None
                self._progress = _empty_bars(self._console)
            case Failed() | Stopped():
                self.stop()
            case _:
                pass
        if (line := self._remark(event)) is not None:
            self._console.print(Text(line, style="yellow" if isinstance(event, Notice) else ""))

    def stop(self) -> None:
        """Leave the bars as they stand and give the terminal back."""
        self._progress.stop()

    def _start_stage(self, event: StageStarted) -> None:
        self._complete_stage()
        self._progress.start()
        if event.stage == TRAINING:
            self._open_training(event.total)
            return
        count = f"0/{event.total}" if event.total else ""
        self._running = self._progress.add_task(
            event.stage, total=event.total or None, count=count, pace="", memory=""
        )

    def _show_step(self, event: StepDone) -> None:
        if self._running is None or event.stage == TRAINING:
            return
        self._progress.update(
            self._running,
            completed=event.step,
            total=event.total or None,
            count=_count(event),
            pace=f"{event.seconds:.2f} s/step",
            memory=memory_text(event.peak_memory),
        )

    def _show_measured(self, event: Measured) -> None:
        if not is_step(event):
            return
        if self._training is None:
            self._open_training(event.total)
        assert self._training is not None
        if not self._is_pace_known:
            # A run that is resumed begins in the middle, which shall not look as if it had been fast.
            self._progress.reset(self._training, total=event.total, completed=event.step)
            self._is_pace_known = True
        self._progress.update(
            self._training,
            completed=event.step,
            total=event.total,
            count=f"{event.step}/{event.total}  {loss_text(event)}",
            pace=f"{event.values.get('seconds', 0.0):.2f} s/step",
            memory=memory_text(int(event.values.get("peak_memory", 0))),
        )
        self._remove_bars_after(self._training)

    def _open_training(self, total: int) -> None:
        self._complete_stage()
        self._progress.start()
        self._training = self._progress.add_task(
            TRAINING, total=total or None, count=f"0/{total}", pace="", memory=""
        )
        self._is_pace_known = False

    def _remove_bars_after(self, first: TaskID) -> None:
        """Take away the bars of stages within training, which come again and again."""
        for task in self._progress.task_ids:
            if task > first:
                self._progress.remove_task(task)
        self._running = None

    def _complete_stage(self) -> None:
        """Fill the bar of the running stage, also one whose steps nobody counted."""
        if self._running is not None:
            total = self._progress.tasks[self._running].total or 1
            self._progress.update(self._running, total=total, completed=total)
            self._running = None


def _empty_bars(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[count]}"),
        TextColumn("{task.fields[pace]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[memory]}"),
        console=console,
        # Results that are written to a file or pipe meanwhile shall go there, not above the bars.
        redirect_stdout=sys.stdout.isatty(),
    )


class PlainLines:
    """A line for each stage and at most one for each tenth of its steps: for logs and pipes.

    Once training goes on, its own steps alone are counted; other stages come again and again.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._remark = Remarks()
        self._step_line = StepLines()
        self._is_training = False
        self._tenth = 0
        self._elapsed = 0.0

    def __call__(self, event: Event, /) -> None:
        match event:
            case StageStarted(stage=stage, total=total):
                self._tenth, self._elapsed = 0, 0.0
                self._write(f"{stage}: {total} steps" if total else stage)
            case StepDone():
                self._show_step(event)
            case Measured() if is_step(event):
                self._is_training = True
                self._show_measured(event)
            case _:
                if (line := self._remark(event)) is not None:
                    self._write(line)

    def _show_step(self, event: StepDone) -> None:
        if event.stage == TRAINING or self._is_training:
            return
        self._elapsed += event.seconds
        tenth = 10 * event.step // event.total if event.total else 0
        if tenth <= self._tenth:
            return
        self._tenth = tenth
        pace = self._elapsed / event.step
        left = pace * (event.total - event.step)
        memory = f", {text}" if (text := memory_text(event.peak_memory)) else ""
        self._write(f"{event.stage}: {_count(event)}, {pace:.2f} s/step, {left:.0f} s left{memory}")

    def _show_measured(self, event: Measured) -> None:
        if (line := self._step_line(event)) is not None:
            memory = memory_text(int(event.values.get("peak_memory", 0)))
            self._write(f"{line}, {memory}" if memory else line)

    def _write(self, line: str) -> None:
        self._stream.write(line + "\n")
        self._stream.flush()


class Remarks:
    """What is worth a line of its own beside bars and step counts; each preview file is told of once."""

    def __init__(self) -> None:
        self._previews: set[str] = set()

    def __call__(self, event: Event, /) -> str | None:
        match event:
            case Notice(message=message):
                return f"note: {message}"
            case Measured() if not is_step(event):
                return all_values_text(event)
            case PreviewSaved(path=path) if path not in self._previews:
                self._previews.add(path)
                return f"preview, renewed as it goes: {path}"
            case ClipFailed() | ClipFinished():
                return _clip_line(event)
            case Finished(seconds=seconds, peak_memory=peak):
                memory = f", peak memory {memory_text(peak)}" if peak else ""
                return f"done in {seconds:.1f} s{memory}"
            case _:
                return None


def _clip_line(event: ClipFailed | ClipFinished) -> str | None:
    """What became of a clip among others; where nobody knows how many there will be, its file."""
    number = f"clip {event.clip} of {event.total}" if event.total else f"clip {event.clip}"
    match event:
        case ClipFailed(message=message):
            return f"{number} failed: {message}"
        case ClipFinished(total=0, files=files):
            return f"{number}: {files.get('video') or files.get('frames') or files['latent']}"
        case ClipFinished(total=1):
            return None
        case _:
            return f"{number} is done"


def memory_text(size: int) -> str:
    """Bytes as people read them; nothing for an unknown size."""
    if not size:
        return ""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


def _count(event: StepDone) -> str:
    return f"{event.step}/{event.total}" if event.total else str(event.step)
