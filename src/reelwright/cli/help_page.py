"""The page that `--help` of a command shows, drawn from its configuration schema."""

import shutil
import textwrap
from collections.abc import Iterable, Mapping
from itertools import groupby
from pathlib import Path

from reelwright.cli.flags import Flag

_COLUMN = 30
_ENDLESS = 2**31  # a bound beyond this tells nobody anything
_WORDS = {int: "N", float: "X", str: "TEXT", Path: "PATH"}


def help_page(usage: str, about: str, flags: Iterable[Flag], titles: Mapping[str, str]) -> str:
    """The usage line, what the command does, and its flags under titles.

    `titles` maps the first field of each group to the group's title; nested groups are titled by their names.
    """
    width = max(60, min(110, shutil.get_terminal_size().columns))
    parts = [f"usage: reelwright {usage}", textwrap.fill(about, width)]
    for title, members in groupby(_titled(flags, titles), key=lambda pair: pair[0]):
        parts.append("\n".join([f"{title}:", *(_entry(flag, width) for _, flag in members)]))
    return "\n\n".join(parts) + "\n"


def _titled(flags: Iterable[Flag], titles: Mapping[str, str]) -> Iterable[tuple[str, Flag]]:
    title = "Flags"
    for flag in flags:
        *groups, name = flag.path
        title = ".".join(groups).replace("_", " ").capitalize() if groups else titles.get(name, title)
        yield title, flag


def _entry(flag: Flag, width: int) -> str:
    """A flag and its value on the left, what it means on the right or below."""
    left = f"  {_spelling(flag)}"
    indent = " " * _COLUMN
    right = textwrap.fill(
        " ".join(_meaning(flag)),
        width,
        initial_indent=indent,
        subsequent_indent=indent,
        break_on_hyphens=False,
    )
    return f"{left:<{_COLUMN}}{right.lstrip()}" if len(left) < _COLUMN - 1 else f"{left}\n{right}"


def _spelling(flag: Flag) -> str:
    if flag.kind is bool:
        return flag.off_name.replace("no-", "[no-]", 1)
    return f"{flag.name} {'|'.join(flag.choices) or _WORDS.get(flag.kind, 'VALUE')}"


def _meaning(flag: Flag) -> Iterable[str]:
    yield flag.documentation or "(undocumented)"
    if flag.kind is bool:
        facts = ["on by default"] if flag.default else []
    else:
        facts = [*_limits(flag), *([] if flag.default in (None, "") else [f"default {flag.default}"])]
    if facts:
        yield f"({'; '.join(facts)})"


def _limits(flag: Flag) -> Iterable[str]:
    match flag.minimum, flag.maximum:
        case float() | int() as low, float() | int() as high if high < _ENDLESS:
            yield f"{low:g} to {high:g}"
        case float() | int() as low, _ if low > 0:
            yield f"{low:g} or more"
        case None, float() | int() as high:
            yield f"{high:g} or less"
        case _:
            pass
