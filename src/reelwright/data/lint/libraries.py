"""Libraries that only people who check data sets need."""

from importlib import import_module
from types import ModuleType

from reelwright.core.errors import ConfigError


def optional_library(name: str) -> ModuleType:
    """A module of the extra `dataset`. Raises ConfigError that tells how to install it."""
    try:
        return import_module(name)
    except ImportError as error:
        raise ConfigError(
            f"{name.partition('.')[0]}: is not installed or not whole ({error}); it checks data sets."
            " Install it: pip install 'reelwright[dataset]'"
        ) from error
