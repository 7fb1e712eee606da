"""What is wished of a job while it runs: watched for in the worker, and followed there."""

import os
import signal
import threading
import time
from types import TracebackType
from typing import Any, Self

from reelwright.core.errors import FileError
from reelwright.core.events import Event, FileSaved, Measured, PreviewSaved, StageStarted, StepDone, to_json
from reelwright.jobs.interrupt import Interrupted
from reelwright.jobs.queue import Job, JobQueue, Wish

_LOOK_EVERY = 0.3
_GRACE = 30.0
_KEPT = ("section", "latent", "state")
_WITH_SECTIONS = ("generate", "redo")


class Wishes:
    """Follows what the queue says is wished of a running job, and tells the queue how far it is."""

    def __init__(self, queue: JobQueue, job: Job) -> None:
        self.followed: Wish = ""
        """The wish on which the work was broken off."""
        self._queue = queue
        self._job = job
        self._wish: Wish = job.wish
        self._progress: dict[str, Any] = {}
        self._reported = 0.0
        self._ended = threading.Event()
        self._looker = threading.Thread(target=self._look, daemon=True)

    def watch(self, event: Event, /) -> None:
        """Note how far the work is, and hold or break off where that was wished. Raises Interrupted."""
        self._note(event)
        if self._wish == "cancel":
            return
        if self._wish == "pause at step" and isinstance(event, StepDone | Measured):
            self._hold()
        elif self._wish == "pause at section" and self._is_kept(event):
            self.followed = "pause at section"
            raise Interrupted(signal.SIGINT)

    def __enter__(self) -> Self:
        self._looker.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._looker.join()

    def _look(self) -> None:
        """Look at the queue again and again; cancel by the signal of Ctrl-C, after some time by force."""
        cancelled_at = 0.0
        while not self._ended.wait(_LOOK_EVERY):
            try:
                self._wish = self._queue.get(self._job.id).wish
            except FileError:
                continue
            if self._wish == "cancel" and not cancelled_at:
                cancelled_at, self.followed = time.monotonic(), "cancel"
                signal.raise_signal(signal.SIGINT)
            if cancelled_at and time.monotonic() - cancelled_at > _GRACE:
                self._queue.finish(self._job.id, "cancelled")
                os._exit(130)

    def _hold(self) -> None:
        while self._wish == "pause at step" or self._queue.get(self._job.id).holds:
            self._queue.hold(self._job.id)
            time.sleep(_LOOK_EVERY)

    def _is_kept(self, event: Event) -> bool:
        if self._job.order.workflow in _WITH_SECTIONS:
            return isinstance(event, FileSaved) and event.kind in _KEPT
        return isinstance(event, StepDone | Measured)

    def _note(self, event: Event) -> None:
        match event:
            case StageStarted() | StepDone():
                self._progress |= to_json(event)
            case PreviewSaved(path=path):
                self._progress["preview"] = path
            case _:
                return
        if time.monotonic() - self._reported > 0.5:
            self._reported = time.monotonic()
            self._queue.report(self._job.id, self._progress)
