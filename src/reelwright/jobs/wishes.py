"""What is wished of a job while it runs: watched for in its worker, and followed there."""

import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

from reelwright.core.errors import FileError, UserError
from reelwright.core.events import (
    ClipFinished,
    Event,
    FileSaved,
    Measured,
    PreviewSaved,
    StageStarted,
    StepDone,
    finite_or_none,
)
from reelwright.jobs.interrupt import Interrupted
from reelwright.jobs.job_record import Job, State, Wish
from reelwright.jobs.queue import JobQueue

_LOOK_EVERY = 0.3
_REPORT_EVERY = 0.5
_GRACE = 30.0
"""Seconds in which a cancelled workflow may close its files."""
_MAKES_CLIPS = ("generate", "redo")
_KEPT = ("section", "latent")
"""Files of a clip after which nothing of it is lost by stopping."""


class Wishes:
    """While the block runs: looks at what the queue wishes of the job, and tells it how far the job is."""

    def __init__(self, queue: JobQueue, job: Job, tell: Callable[[State, str], None]) -> None:
        """`tell` is told when a worker that held goes on."""
        self._queue = queue
        self._job = job
        self._tell = tell
        self._wish: Wish = job.wish
        self._progress = {name: job.progress[name] for name in ("preview",) if name in job.progress}
        self._reported_at = 0.0
        self._is_over = threading.Event()
        self._looker = threading.Thread(target=self._look, name="wishes", daemon=True)

    def watch(self, event: Event, /) -> None:
        """Note how far the work is; hold, or break it off, where that is wished. Raises Interrupted."""
        self._note(event)
        if not isinstance(event, StepDone | Measured | FileSaved):
            return
        self._see()
        if self._wish == "pause at step" and not isinstance(event, FileSaved):
            self._hold()
        elif self._wish == "pause at section" and self._is_kept(event):
            raise Interrupted(signal.SIGINT)

    def __enter__(self) -> Self:
        self._report()  # an attempt before this one may have been further
        self._looker.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over.set()
        self._looker.join()
        self._report()

    def _look(self) -> None:
        """Look at the queue again and again. Cancel as by Ctrl-C, and after some time by force."""
        cancelled_at: float | None = None
        while not self._is_over.wait(_LOOK_EVERY):
            self._see()
            if self._wish != "cancel":
                continue
            if cancelled_at is None:
                cancelled_at = time.monotonic()
                _interrupt_main_thread()
            elif time.monotonic() - cancelled_at > _GRACE:
                with suppress(UserError):
                    self._queue.finish(self._job.id, "cancelled")
                os._exit(130)

    def _see(self) -> None:
        """What is wished now; as before where the queue cannot be read."""
        with suppress(UserError):
            self._wish = self._queue.get(self._job.id).wish

    def _hold(self) -> None:
        """Wait until the job is to go on. An interruption ends the waiting too."""
        try:
            is_held = self._queue.hold(self._job.id).holds
        except FileError:
            return
        if not is_held:
            return
        while is_held:
            time.sleep(_LOOK_EVERY)
            with suppress(FileError):
                is_held = self._queue.get(self._job.id).holds
        self._tell("running", "gone on")

    def _is_kept(self, event: Event) -> bool:
        """Whether nothing is lost by stopping now; what makes no clips keeps its state when it is stopped."""
        if self._job.order.workflow in _MAKES_CLIPS:
            return isinstance(event, FileSaved) and event.kind in _KEPT
        return isinstance(event, StepDone | Measured)

    def _note(self, event: Event) -> None:
        match event:
            case StageStarted(stage=stage, total=total):
                self._progress |= {"stage": stage, "step": 0, "total": total}
            case StepDone(stage=stage, step=step, total=total, seconds=seconds):
                self._progress |= {"stage": stage, "step": step, "total": total, "seconds": seconds}
            case Measured(values=values):
                known = finite_or_none(values)
                self._progress["loss"] = known.get("smoothed_loss", known.get("loss"))
            case PreviewSaved(path=path):
                self._progress["preview"] = path
            case ClipFinished(clip=clip, total=total):
                self._progress |= {"clip": clip, "clips": total}
            case _:
                return
        if time.monotonic() - self._reported_at > _REPORT_EVERY:
            self._report()

    def _report(self) -> None:
        self._reported_at = time.monotonic()
        with suppress(FileError):  # the work is worth more than the sight of it
            self._queue.report(self._job.id, self._progress)


def _interrupt_main_thread() -> None:
    """The signal of Ctrl-C, so that it wakes the main thread where it sleeps or waits."""
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
    else:
        signal.raise_signal(signal.SIGINT)
