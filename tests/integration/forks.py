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
    """A command line at work; as much of subprocess.Popen as tests want of it."""

    def __init__(self, words: list[str], folder: Path, environment: Mapping[str, str]) -> None:
        self._errors = TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 - as long as this
        ours, theirs = Pipe(duplex=False)
        errors = Connection(os.dup(self._errors.fileno()), readable=False)
        self._process = FORKING.Process(
            target=_run, args=(words, str(folder), dict(environment), theirs, errors)
        )
        self._process.start()
        theirs.close()  # ours would be another end, and the pipe never end
        errors.close()
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

    def wait(self) -> None:
        self._process.join()

    def communicate(self) -> tuple[str, str]:
        """What it still says, and all its errors, when it has ended."""
        said = self.stdout.read() if not self.stdout.closed else ""
        self.wait()
        self.stdout.close()
        self._errors.seek(0)
        return said, self._errors.read()


def _run(
    words: list[str], folder: str, environment: dict[str, str], stdout: Connection, stderr: Connection
) -> None:
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for connection, number in ((stdout, 1), (stderr, 2)):
        os.dup2(connection.fileno(), number)
        connection.close()
    sys.stdout, sys.stderr = (os.fdopen(number, "w", encoding="utf-8", closefd=False) for number in (1, 2))
    sys.exit(main(words))
