"""What a user is told when something cannot be done: what it is, where it is, and what to do."""

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(Exception):
    """A failure that the user can mend; shown as one message without a traceback."""

    exit_code = 1


class ConfigError(UserError):
    """A flag, a recipe key or a combination of them is not legal."""

    exit_code = 2


class FileError(UserError):
    """A file or folder is missing, unreadable, damaged or cannot be written."""


class CheckpointError(FileError):
    """A file of weights does not fit the model."""


class MemoryLimitError(UserError):
    """The work needs more memory than there is."""

    exit_code = 3


class NumericsError(UserError):
    """The numbers went wrong: a NaN or an infinity where a picture should be."""


_OUT_OF_MEMORY = "OutOfMemoryError"
_CPU_ALLOCATION_FAILED = "DefaultCPUAllocator"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out; torch's own errors are known by name, since it must not be imported here."""
    names = {kind.__name__ for kind in type(error).__mro__}
    return (
        isinstance(error, MemoryError | MemoryLimitError)
        or _OUT_OF_MEMORY in names
        or _CPU_ALLOCATION_FAILED in str(error)
    )


def nearest(word: str, choices: Iterable[str]) -> str | None:
    """The choice that looks most like `word`, or None; case, dashes and underscores do not count."""
    by_plain_form = {_plain_form(choice): choice for choice in choices}
    close = get_close_matches(_plain_form(word), by_plain_form, n=1)
    return by_plain_form[close[0]] if close else None


def suggestion(word: str, choices: Iterable[str]) -> str:
    """The sentence that ends a message about an unknown word: the nearest choice, else all of them."""
    known = list(choices)
    close = nearest(word, known)
    if close is not None:
        return f"Did you mean {close}?"
    return f"Choose one of: {', '.join(known)}." if known else "There is nothing to choose from."


def _plain_form(word: str) -> str:
    return word.lower().replace("_", "-")
