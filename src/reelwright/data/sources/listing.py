"""A list of items in which one wrong line keeps no other from training."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from reelwright.core.errors import FileError
from reelwright.protocols.clips import Source

Record = TypeVar("Record")

Listed = Source | FileError
"""An item, or in its place what is wrong with the line or file that should say what it is."""


def each_listed(records: Iterable[Record], convert: Callable[[Record], Source]) -> Iterator[Listed]:
    """What `convert` makes of each record, or the FileError that it raises."""
    for record in records:
        try:
            yield convert(record)
        except FileError as error:
            yield error
