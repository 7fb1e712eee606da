"""A real `reelwright studio` in a process of its own, with folders of its own, on a free port."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from queue import Empty, Queue
from typing import Self

from reelwright.jobs.queue import JobQueue

PATIENCE = 120.0
"""Seconds within which anything comes on a machine that has much else to do."""
_PROGRAMS = ("chromium", "chromium-browser", "google-chrome")


def find_chromium() -> str | None:
    """Where Chromium is: $REELWRIGHT_CHROMIUM, else on the path."""
    named = os.environ.get("REELWRIGHT_CHROMIUM")
    return named or next(filter(None, map(shutil.which, _PROGRAMS)), None)


class StudioProcess:
    """Runs between `start` and `stop`; folders stay, so that another one goes on."""

    def __init__(self, folder: Path, *more: str) -> None:
        self.folder = folder
        self._more = more
        self.runs, self.queue = folder / "runs", folder / "queue"
        self.address = ""
        self.addresses: tuple[str, ...] = ()
        """All that it has had."""
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> Self:
        """Start it and wait until it answers."""
        folders = ("--runs", self.runs, "--queue", self.queue, "--folders", self.folder)
        words = ("studio", "--port", "0", *folders, *self._more)
        self._process = subprocess.Popen(
            [Path(sys.executable).parent / "reelwright", *map(str, words), "--json"],
            cwd=self.folder,
            env={**os.environ, "REELWRIGHT_CACHE": str(self.folder / "cache"), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=(self.folder / "stderr.txt").open("a"),
            text=True,
        )
        self.address = self._announced()
        self.addresses = (*self.addresses, self.address, self.address.replace("http", "ws"))
        return self

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End it, by SIGTERM or otherwise, and return its exit code; workers go on."""
        if self._process is None:
            return 0
        self._process.send_signal(number)
        code = self._process.wait(PATIENCE)
        self._process = None
        return code

    def jobs(self) -> JobQueue:
        """The queue, as any process may open it."""
        return JobQueue(self.queue)

    def cancel_all(self) -> None:
        """Leave no worker behind."""
        for job in self.jobs().list(("queued", "running", "paused")):
            self.jobs().cancel(job.id)
        while any(job.has_worker for job in self.jobs().list()):
            time.sleep(0.2)

    def log(self) -> str:
        """What it had to complain about."""
        return (self.folder / "stderr.txt").read_text()

    def _announced(self) -> str:
        assert self._process is not None
        assert self._process.stdout is not None
        lines: Queue[str] = Queue()
        reader = threading.Thread(target=lambda: lines.put(self._process.stdout.readline()), daemon=True)
        reader.start()
        try:
            return json.loads(lines.get(timeout=PATIENCE))["facts"]["studio"]
        except (Empty, ValueError) as error:
            raise AssertionError(f"the studio did not come up:\n{self.log()}") from error
