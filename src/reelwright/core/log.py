"""The log of a run: what a maintainer needs to see, apart from the events that a user sees."""

import logging
from pathlib import Path
from types import TracebackType
from typing import Self

from reelwright.core.errors import UserError


class RunLog:
    """While the block runs, the records of the `reelwright` loggers are appended to a file.

    An unexpected exception that leaves the block is written with its traceback, and told where that is.
    """

    def __init__(self, path: Path, level: int = logging.INFO) -> None:
        self._path = path
        self._logger = logging.getLogger("reelwright")
        self._level_before = self._logger.level
        self._level = level
        self._handler = logging.FileHandler(path, encoding="utf-8", delay=True)
        self._handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))

    def __enter__(self) -> Self:
        self._level_before = self._logger.level
        self._logger.addHandler(self._handler)
        self._logger.setLevel(min(self._level, self._level_before or self._level))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, Exception) and not isinstance(error, UserError):
            self._logger.error("the run failed", exc_info=error)
            error.add_note(f"The traceback is in {self._path}.")
        self._logger.setLevel(self._level_before)
        self._logger.removeHandler(self._handler)
        self._handler.close()
