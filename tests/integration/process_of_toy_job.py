"""A worker whose workflow `generate` keeps numbered sections instead of making video: QUEUE_FOLDER ID.

Before section N it waits as long as there is a file hold-N in the folder that the job counts from. What it
kept is not made again. The prompt may ask for more: "crash" at the first section, "stumble" or "fail".
"""

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from reelwright.core.errors import UserError
from reelwright.core.events import Event, FileSaved, Finished, PreviewSaved, StageStarted, StepDone
from reelwright.jobs import worker
from reelwright.protocols.configs import GenerateConfig

PATIENCE = 120.0


def run(family: str, config: GenerateConfig, replaces: bool = False) -> Iterator[Event]:
    """Each section is a line of made.txt, written once."""
    assert config.run is not None
    config.run.mkdir(parents=True, exist_ok=True)
    made = config.run / "made.txt"
    made.touch()
    yield StageStarted("denoise", config.steps)
    for number in range(1, config.steps + 1):
        wait_while(Path(f"hold-{number}"))
        if config.prompt == "crash":
            os.kill(os.getpid(), signal.SIGKILL)
        if config.prompt == "stumble":
            raise ZeroDivisionError("division by zero")
        if config.prompt == "fail":
            raise UserError("fox.png: there is no fox. Take another picture.")
        if str(number) not in made.read_text().split():
            with made.open("a") as file:
                file.write(f"{number}\n")
        yield StepDone("denoise", number, config.steps, 0.1)
        yield FileSaved("section", str(made))
        yield PreviewSaved(str(config.run / "preview.png"), number)
    yield Finished()


def wait_while(hold: Path) -> None:
    """As a long step does; gives up if a test forgot it."""
    until = time.monotonic() + PATIENCE
    while hold.exists():
        if time.monotonic() > until:
            sys.exit("forgotten")
        time.sleep(0.02)


if __name__ == "__main__":
    module = ModuleType("reelwright.workflows.generate")
    module.run = run  # pyright: ignore[reportAttributeAccessIssue]
    sys.modules[module.__name__] = module
    sys.exit(worker.main(sys.argv[1:]))
