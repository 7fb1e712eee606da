"""How good items are: numbers that a list, or a file beside each, gives them."""

import math
from collections.abc import Collection
from pathlib import PurePosixPath

from reelwright.core.errors import FileError
from reelwright.core.locations import name_of, read_text

SCORE = "score"
"""The key or column of lists, and the extension of files beside the media."""


def read_score(value: object, origin: str) -> float:
    """A number, or text that is one. Raises FileError, which begins with `origin`."""
    try:
        score = float(value) if isinstance(value, str | int | float) else math.nan
    except ValueError:
        score = math.nan
    if not math.isfinite(score):
        raise FileError(f"{origin}: {value!r} is no number. Write one, as 0.75, or leave it out.")
    return score


def score_beside(media: str, files: Collection[str]) -> float | None:
    """What a.score says beside a.mp4, if that is among `files`. Raises FileError."""
    beside = named_alike(media, f".{SCORE}")
    return read_score(read_text(beside).strip(), beside) if beside in files else None


def named_alike(media: str, extension: str) -> str:
    """The location with another extension, whatever follows it in a URL."""
    suffix = PurePosixPath(name_of(media)).suffix
    head, found, tail = media.rpartition(suffix)
    return f"{head}{extension}{tail}" if found else media
