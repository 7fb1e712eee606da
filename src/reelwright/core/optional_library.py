"""Libraries that only some uses need, imported when they are."""

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
