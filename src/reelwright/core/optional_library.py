"""Libraries that only some uses need, imported when they are."""

import logging
from collections.abc import Generator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType

from reelwright.core.errors import ConfigError


def import_optional(name: str, *, extra: str, purpose: str) -> ModuleType:
    """A module of a library that `extra` installs and that `purpose`, as in "checks data sets", says.

    Raises ConfigError that tells how to install it.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise ConfigError(
            f"{name.partition('.')[0]}: is not installed or not whole ({error}); it {purpose}."
            f" Install it: pip install 'reelwright[{extra}]'"
        ) from error


@contextmanager
def torchao_silenced() -> Generator[None]:
    """While torchao is imported: it warns of its kernels for other machines, and torch of how it is written.

    Its loggers and that one of torch take errors only until the end; all others are left alone.
    """
    loggers = [logging.getLogger(name) for name in ("torchao", "torch.utils._pytree")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
