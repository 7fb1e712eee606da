"""Where a person types prompts: the terminal with its history, or any other source of lines."""

import sys
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module

_INTRODUCTION = (
    "One prompt a line, with options such as --w 832 --h 480 --d 42 --n blurry."
    " Ctrl-D (on Windows Ctrl-Z, Enter) ends.\n"
)
_PROMPT = "prompt> "


def typed_lines() -> Iterator[str]:
    """What is typed, line by line, until Ctrl-D; on a terminal with a prompt, a history and its keys."""
    if not sys.stdin.isatty():
        yield from sys.stdin
        return
    _enable_history()
    sys.stderr.write(_INTRODUCTION)
    while True:
        try:
            yield _ask()
        except EOFError:
            sys.stderr.write("\n")
            return


def _ask() -> str:
    """One line. Raises EOFError at Ctrl-D."""
    sys.stderr.flush()
    if sys.stdout.isatty():
        return input(_PROMPT)
    sys.stderr.write(_PROMPT)  # stdout goes to a file or another program: it is for results
    sys.stderr.flush()
    return input()


def _enable_history() -> None:
    """Arrow keys, where Python was built with them."""
    with suppress(ImportError):
        import_module("readline")
