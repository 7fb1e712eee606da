"""Command lines in processes of their own that need not import anything: forks of one that has done so."""

import os
import signal
import sys
from collections.abc import Mapping
from multiprocessing import Pipe, get_context
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from reelwright.cli.main import main

FORKING = get_context("forkserver")
FORKING.set_forkserver_preload(
    [
        *(f"reelwright.workflows.{name}" for name in ("generate", "train", "cache")),
        *(f"reelwright.families.{name}.family" for name in ("cogvideox", "framepack")),
        "torch._dynamo",
        "transformers.models.t5.modeling_t5",
        "transformers.models.llama.modeling_llama",
        "transformers.models.clip.modeling_clip",
        "transformers.models.siglip.modeling_siglip",
    ]
)


class Fork:
    """A command line at work; as much of subprocess.Popen as tests want of it.

    With a terminal, which is a descriptor, that is all it reads from and writes to.
    """

    def __init__(
        self, words: list[str], folder: Path, environment: Mapping[str, str], terminal: int | None = None
    ) -> None:
        self._errors = TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 - as long as this
        ours, theirs = Pipe(duplex=False)
        ends = {1: theirs, 2: Connection(os.dup(self._errors.fileno()), readable=False)}
        if terminal is not None:
            ends = {number: Connection(os.dup(terminal)) for number in range(3)}
        self._process = FORKING.Process(target=_run, args=(words, str(folder), dict(environment), ends))
        self._process.start()
        for end in (theirs, *ends.values()):
            end.close()  # ours would be another end, and the pipe never end
        self.stdout: IO[str] = os.fdopen(os.dup(ours.fileno()), encoding="utf-8")
        ours.close()
        assert self._process.pid is not None
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def send_signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        self._process.kill()

    def wait(self, seconds: float | None = None) -> int | None:
        """The exit status; None if it is still at work after so many seconds."""
        self._process.join(seconds)
        return self.returncode

    def communicate(self) -> tuple[str, str]:
        """What it still says, and all its errors, when it has ended."""
        said = self.stdout.read() if not self.stdout.closed else ""
        self.wait()
        self.stdout.close()
        self._errors.seek(0)
        return said, self._errors.read()


def _run(words: list[str], folder: str, environment: dict[str, str], ends: dict[int, Connection]) -> None:
    os.setsid()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for number, end in ends.items():
        os.dup2(end.fileno(), number)
        end.close()
    if 0 in ends:
        sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", encoding="utf-8", closefd=False) for number in (1, 2))
    sys.exit(main(words))
