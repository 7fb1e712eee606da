"""Many mistakes in one message, so that a list is mended in one go."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from reelwright.core.errors import FileError
from reelwright.protocols.clips import Source

T = TypeVar("T")

_MOST = 20


def gathered(records: Iterable[T], convert: Callable[[T], Source]) -> Iterator[Source]:
    """The sources of records. From the first that cannot be converted on, only problems are looked for.

    Raises FileError at the end with the first of them, and how many more there are.
    """
    problems: list[str] = []
    num_more = 0
    for record in records:
        try:
            source = convert(record)
        except FileError as error:
            if len(problems) < _MOST:
                problems.append(str(error))
            else:
                num_more += 1
        else:
            if not problems:
                yield source
    if problems:
        raise FileError("\n".join([*problems, *([f"... and {num_more} more."] if num_more else [])]))
