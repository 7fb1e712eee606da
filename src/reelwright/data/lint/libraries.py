"""Libraries that only people who check data sets need."""

from types import ModuleType

from reelwright.core.optional_library import import_optional


def optional_library(name: str) -> ModuleType:
    """A module of the extra `dataset`. Raises ConfigError that tells how to install it."""
    return import_optional(name, extra="dataset", purpose="checks data sets")
