"""What a run folder tells of its run: the recipe at the start, events as they come, and how it ended."""

import secrets
import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace

from reelwright.core.config import read_recipe, to_toml
from reelwright.core.errors import ConfigError, UserError
from reelwright.core.events import (
    ClipFailed,
    ClipFinished,
    Event,
    EventSink,
    Failed,
    Finished,
    StepDone,
    Stopped,
)
from reelwright.core.run_folder import RunFolder
from reelwright.protocols.configs import GenerateConfig
from reelwright.protocols.train_configs import LearningConfig
from reelwright.workflows.clips.making import COMPUTING
from reelwright.workflows.clips.shortcuts import merged, tell_shortcuts

RECIPE = "recipe.toml"
"""Within a run: what it makes."""
ROOM_NEEDED = 64 << 20
"""Free bytes without which a run does not start."""


class Tally:
    """What a run came to, clip by clip."""

    def __init__(self, shortcuts_then: Sequence[str] | None = None) -> None:
        """`shortcuts_then`: those of the clip that is made again, if one is."""
        self.failures: list[str] = []
        self._shortcuts: tuple[str, ...] = ()
        self._shortcuts_then = shortcuts_then
        self._files: list[dict[str, str]] = []
        self._peak_memory = 0
        self._started = time.perf_counter()

    def watch(self, events: Iterable[Event]) -> Iterator[Event]:
        """Pass events on and remember what the end will tell."""
        for event in events:
            match event:
                case StepDone(peak_memory=memory):
                    self._peak_memory = max(self._peak_memory, memory)
                case ClipFinished(files=made, shortcuts=shortcuts):
                    self._files.append(made)
                    self._shortcuts = merged(self._shortcuts, shortcuts)
                case ClipFailed(clip=number, message=message):
                    self.failures.append(f"clip {number}: {message}")
                case _:
                    pass
            yield event

    def end(self) -> Iterator[Event]:
        """Tell what was made. Raises UserError with all that failed."""
        if self._files or not self.failures:
            yield from tell_shortcuts(self._shortcuts, self._shortcuts_then)
            yield Finished(tuple(self._files), time.perf_counter() - self._started, self._peak_memory)
        if self.failures:
            raise UserError("\n".join(self.failures))


def with_seed(config: GenerateConfig) -> GenerateConfig:
    """Draw the seed that was left open, so that the stored recipe makes the same clips again."""
    return replace(config, seed=draw_seed()) if config.seed < 0 else config


def draw_seed() -> int:
    return secrets.randbelow(2**31)


def store_recipe(
    folder: RunFolder,
    family: str,
    config: GenerateConfig | LearningConfig,
    *,
    workflow: str = "generate",
    replaces: bool = False,
) -> None:
    """Write recipe.toml; a folder with the work of another recipe is refused, unless told otherwise."""
    path = folder.path / RECIPE
    identity = {"workflow": workflow, "family": family}
    elsewhere = {"out": config.out, "run": config.run}
    is_other = path.exists() and replace(read_recipe(path, type(config), identity), **elsewhere) != config
    if is_other and not replaces:
        raise ConfigError(
            f"run: {folder.path} holds another run. Choose another --run, or go on with that one: "
            f"reelwright resume {folder.path}"
        )
    folder.write_recipe(to_toml(config, identity))


def recorded(keep: EventSink, events: Generator[Event]) -> Iterator[Event]:
    """Pass events on, each kept in the run folder first, the end of a broken run too."""
    try:
        with closing(events):
            for event in events:
                keep(event)
                yield event
    except (UserError, *COMPUTING) as error:
        keep(Failed(type(error).__name__, str(error)))
        raise
    except (KeyboardInterrupt, GeneratorExit) as interruption:
        keep(Stopped(getattr(interruption, "name", "SIGINT")))
        raise
