"""Whoever lets a queue be worked on: starts workers, looks after them, takes over those of the dead."""

import logging
import os
import secrets
import subprocess
import sys
import threading
from collections.abc import Sequence

from filelock import FileLock, Timeout

from reelwright.core.errors import UserError
from reelwright.jobs.queue import Job, JobQueue
from reelwright.jobs.worker import LOCK, job_event

_logger = logging.getLogger(__name__)
_LOOK_EVERY = 0.3
_ATTEMPTS = 3
_WORKER = (sys.executable, "-m", "reelwright.jobs.worker")


class Dispatcher:
    """Between `start` and `stop`, at most `workers` jobs run at a time. Running ones outlive it.

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
        self._queue = queue
        self._workers = workers
        self._devices = tuple(devices)
        self._command = tuple(command)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="dispatcher", daemon=True)
        self._alive = FileLock(self._lock_of(self.name))

    def start(self) -> None:
        """Begin to start workers, in a thread."""
        self._alive.lock_file  # noqa: B018
        (self._queue.folder / "dispatchers").mkdir(parents=True, exist_ok=True)
        self._alive.acquire()
        self._thread.start()

    def stop(self) -> None:
        """Start no more workers; those that work go on."""
        self._stopping.set()
        self._thread.join()
        self._alive.release()

    def _lock_of(self, name: str) -> str:
        return str(self._queue.folder / "dispatchers" / name)

    def _run(self) -> None:
        while True:
            try:
                self._look_after()
                self._start_some()
            except (UserError, OSError) as error:
                _logger.warning("the queue waits: %s", error)
            if self._stopping.wait(_LOOK_EVERY):
                return

    def _look_after(self) -> None:
        for job in self._queue.list(("running", "paused")):
            if job.has_worker and not self._is_looked_after(job):
                self._see_to(job)

    def _is_looked_after(self, job: Job) -> bool:
        if job.owner == self.name:
            process = self._processes.get(job.id)
            return process is not None and process.poll() is None
        return not _is_free(self._lock_of(job.owner))

    def _see_to(self, job: Job) -> None:
        lock = FileLock(self._queue.folder_of(job.id) / LOCK)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            if job.owner != self.name:
                self._queue.adopt(job.id, job.owner, self.name)
            return
        with lock:
            job = self._queue.get(job.id)
            if job.has_worker:
                self._end(job)

    def _end(self, job: Job) -> None:
        process = self._processes.pop(job.id, None)
        reason = "its worker ended" if process is None else f"its worker ended with {process.returncode}"
        if job.wish == "cancel":
            state, reason = "cancelled", ""
        elif job.holds:
            state, reason = "paused", ""
        elif job.attempts >= _ATTEMPTS:
            state, reason = "failed", f"{reason}, {job.attempts} times."
        else:
            state = "queued"
        self._queue.finish(job.id, state, reason)
        self._queue.log_of(job.id).append(job_event(state, reason))

    def _start_some(self) -> None:
        while not self._stopping.is_set():
            mine = [job for job in self._queue.list(("running", "paused")) if job.has_worker]
            if sum(job.owner == self.name for job in mine) >= self._workers:
                return
            free = [device for device in self._devices if device not in {job.device for job in mine}]
            if self._devices and not free:
                return
            job = self._queue.claim(self.name, free[0] if free else "")
            if job is None:
                return
            self._start(job)

    def _start(self, job: Job) -> None:
        folder = self._queue.folder_of(job.id)
        folder.mkdir(parents=True, exist_ok=True)
        environment = {"CUDA_VISIBLE_DEVICES": job.device} if job.device else {}
        with (folder / "output.txt").open("ab") as output:
            self._processes[job.id] = subprocess.Popen(
                [*self._command, str(self._queue.folder), job.id],
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )


def _is_free(lock: str) -> bool:
    probe = FileLock(lock)
    try:
        probe.acquire(blocking=False)
    except (Timeout, OSError):
        return False
    probe.release()
    return True
