"""Who lets a queue be worked on: starts workers, looks after them, and after those that others left."""

import logging
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from reelwright.core.errors import FileError, UserError
from reelwright.jobs.job_record import Job, State
from reelwright.jobs.queue import JobQueue
from reelwright.jobs.worker import LOCK, OUTPUT, PROCESS

_logger = logging.getLogger(__name__)

_LOOK_EVERY = 0.3
_ATTEMPTS = 3
_GRACE = 60.0
"""Seconds after which a worker that does not follow a wish to cancel is killed; it kills itself before."""
_OLD = 3600.0
"""Seconds after which the lock of a dead dispatcher is removed; a young one may be about to be held."""
_WORKER = (sys.executable, "-P", "-m", "reelwright.jobs.worker")


class Dispatcher:
    """Between `start` and `stop`, at most `workers` jobs run at a time. Those that run at the end go on.

    devices: the GPUs that are shared out, one for each worker; none leaves the choice to the jobs.
    command: the words that start a worker, before the queue's folder and the job's id.
    """

    def __init__(
        self,
        queue: JobQueue,
        *,
        workers: int = 1,
        devices: Sequence[str] = (),
        command: Sequence[str] = _WORKER,
    ) -> None:
        self.name = secrets.token_hex(6)
        """What a job says of who looks after it."""
        self._queue = queue
        self._workers = workers
        self._devices = tuple(devices)
        self._command = tuple(command)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._cancelled_at: dict[str, float] = {}
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._life = FileLock(self._life_of(self.name), thread_local=False)

    def start(self) -> None:
        """Begin to start workers, in a thread. Raises FileError where the disk refuses."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._life.acquire(blocking=False)
        except OSError as error:
            raise FileError(
                f"{self._queue.folder}: the queue cannot be worked on ({error.strerror or error})."
                " Check its permissions, or choose another folder with --queue."
            ) from error
        self._remove_dead()
        self._stopping.clear()
        self._thread = threading.Thread(target=self._run, name="dispatcher", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Start no more workers; those that work go on, and who starts next looks after them."""
        if self._thread is not None:
            self._stopping.set()
            self._thread.join()
            self._thread = None
            self._life.release()

    @property
    def _folder(self) -> Path:
        """With a lock for each dispatcher, which is free when that is dead."""
        return self._queue.folder / "dispatchers"

    def _life_of(self, name: str) -> Path:
        return self._folder / name

    def _remove_dead(self) -> None:
        for path in self._folder.iterdir():
            is_old = time.time() - path.stat().st_mtime > _OLD
            if is_old and path.name != self.name and _is_free(path):
                path.unlink(missing_ok=True)

    def _run(self) -> None:
        complaint = ""
        while True:
            try:
                self._look_after_all()
                self._start_some()
                complaint = ""
            except (UserError, OSError) as error:  # a full disk, say: later is soon enough
                if str(error) != complaint:
                    _logger.warning("the queue waits: %s", error)
                complaint = str(error)
            if self._stopping.wait(_LOOK_EVERY):
                return

    def _look_after_all(self) -> None:
        working = self._working()
        for job in working:
            if job.owner == self.name or _is_free(self._life_of(job.owner)):
                self._look_after(job)
        for identity in self._processes.keys() - {job.id for job in working}:
            if self._processes[identity].poll() is not None:
                del self._processes[identity]

    def _working(self) -> list[Job]:
        return [job for job in self._queue.list(("running", "paused")) if job.has_worker]

    def _look_after(self, job: Job) -> None:
        """Kill a worker that is deaf, take over one that was left, see to the job of one that is dead."""
        self._kill_deaf(job)
        process = self._processes.get(job.id)
        if process is not None and process.poll() is None:
            return
        try:
            with FileLock(self._queue.folder_of(job.id) / LOCK, blocking=False):
                if (job := self._queue.get(job.id)).has_worker:
                    self._bury(job)
        except Timeout:
            if job.owner != self.name:
                self._queue.adopt(job.id, job.owner, self.name)

    def _bury(self, job: Job) -> None:
        """Queue the job of a dead worker again, unless another end was wished or it died too often."""
        process = self._processes.get(job.id)
        reason = _cause_of_death(None if process is None else process.returncode)
        state: State = "queued"
        if job.attempts >= _ATTEMPTS and not job.wish and not job.holds:
            state = "failed"
            reason = f"{reason}, at attempt {job.attempts}. What it wrote: {self._output_of(job)}"
        self._queue.finish(job.id, state, reason)
        self._processes.pop(job.id, None)

    def _kill_deaf(self, job: Job) -> None:
        """By force, with all that it started, if it was to cancel itself long ago."""
        if job.wish != "cancel":
            self._cancelled_at.pop(job.id, None)
        elif time.monotonic() - self._cancelled_at.setdefault(job.id, time.monotonic()) > _GRACE:
            with suppress(OSError, ValueError):
                number = int((self._queue.folder_of(job.id) / PROCESS).read_text(encoding="utf-8"))
                if not _is_free(self._queue.folder_of(job.id) / LOCK):
                    _kill(number)

    def _start_some(self) -> None:
        while not self._stopping.is_set():
            working = self._working()
            alive = {name for name, process in self._processes.items() if process.poll() is None}
            if len(alive | {job.id for job in working if job.owner == self.name}) >= self._workers:
                return  # a worker whose job is done still holds its memory until it is gone
            taken = {job.device for job in working}
            free = [device for device in self._devices if device not in taken]
            if self._devices and not free:
                return
            job = self._queue.claim(self.name, free[0] if free else "")
            if job is None:
                return
            self._start(job)

    def _start(self, job: Job) -> None:
        environment = {"CUDA_VISIBLE_DEVICES": job.device} if job.device else {}
        output = self._output_of(job)
        output.parent.mkdir(parents=True, exist_ok=True)
        with output.open("ab") as file:
            self._processes[job.id] = subprocess.Popen(
                [*self._command, str(self._queue.folder), job.id],
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )

    def _output_of(self, job: Job) -> Path:
        return self._queue.folder_of(job.id) / OUTPUT


def _cause_of_death(exit_code: int | None) -> str:
    if exit_code is None:
        return "its worker was gone"
    if exit_code >= 0:
        return f"its worker ended with exit code {exit_code} and without a word"
    name = signal.Signals(-exit_code).name if -exit_code in set(signal.Signals) else str(-exit_code)
    often = " (often because memory ran out)" if name == "SIGKILL" else ""
    return f"its worker was killed by {name}{often}"


def _is_free(lock: Path) -> bool:
    """Whether no living process holds a lock."""
    probe = FileLock(lock)
    try:
        probe.acquire(blocking=False)
    except Timeout:
        return False
    probe.release()
    return True


def _kill(number: int) -> None:
    if hasattr(os, "killpg"):
        os.killpg(number, signal.SIGKILL)
    else:
        os.kill(number, signal.SIGTERM)
