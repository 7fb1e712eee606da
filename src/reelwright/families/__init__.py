"""One folder per model family; the folder is the registry."""

from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from pkgutil import iter_modules
from types import ModuleType
from typing import TYPE_CHECKING

from reelwright.core.errors import ConfigError, nearest

if TYPE_CHECKING:
    from reelwright.protocols.family import Family
    from reelwright.protocols.guide_flags import GuideCommand


@cache
def _packages() -> dict[str, str]:
    own = {module.name: f"{__name__}.{module.name}" for module in iter_modules(__path__) if module.ispkg}
    return own | {entry.name: entry.value for entry in entry_points(group="reelwright.families")}


def names() -> tuple[str, ...]:
    """All families: the sub-packages here and the installed entry points `reelwright.families`."""
    return tuple(sorted(_packages()))


def configs(name: str) -> ModuleType:
    """A family's config module, cheap to import: schemas and variants, no torch."""
    return import_module(f"{_package(name)}.config")


def load(name: str) -> "Family":
    """Everything that the program knows of a family."""
    return import_module(f"{_package(name)}.family").FAMILY


def guide_command(command: str) -> tuple[str, "GuideCommand"]:
    """The family that runs a command line of another program, and the table of its flags; no torch."""
    for name in names():
        listed: dict[str, str] = getattr(configs(name), "GUIDE_COMMANDS", {})
        if command in listed:
            return name, import_module(f"{_package(name)}.{listed[command]}").COMMANDS[command]
    raise ConfigError(f"{command}: no model family runs this command.")


def _package(name: str) -> str:
    if name not in _packages():
        hint = nearest(name, names())
        suffix = f" Did you mean {hint}?" if hint else ""
        raise ConfigError(f"{name!r} is no model family. Families: {', '.join(names())}.{suffix}")
    return _packages()[name]
