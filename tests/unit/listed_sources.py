"""What a data set lists, apart: its items, and what is wrong with it."""

from typing import Any

from reelwright.core.errors import FileError
from reelwright.data.sources import list_sources
from reelwright.protocols.clips import Source
from reelwright.protocols.datasets import DatasetConfig


def listed(**keys: Any) -> list[Source]:
    """The items of a data set with which nothing is wrong."""
    found = [*list_sources(DatasetConfig(**keys))]
    assert not [str(each) for each in found if isinstance(each, FileError)]
    return [each for each in found if isinstance(each, Source)]


def problems(**keys: Any) -> list[str]:
    """What comes in the place of items, and why the listing ended."""
    told: list[str] = []
    try:
        for each in list_sources(DatasetConfig(**keys)):
            if isinstance(each, FileError):
                told.append(str(each))
    except FileError as error:
        told.append(str(error))
    return told
