"""The log of a run: what a maintainer needs to see, apart from the events that a user sees."""

import logging
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def log_to(path: Path, level: int = logging.INFO) -> Generator[None, None, None]:
    """Append the records of the `reelwright` loggers to `path` while the block runs."""
    handler = logging.FileHandler(path, encoding="utf-8", delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logger, before = logging.getLogger("reelwright"), logging.getLogger("reelwright").level
    logger.addHandler(handler)
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.setLevel(before)
        logger.removeHandler(handler)
        handler.close()
