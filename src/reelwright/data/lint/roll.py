"""The items that were seen, kept on disk: what concerns several of them is found at the end."""

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType

import numpy as np

from reelwright.data.lint.duplicates import Groups, Hashes, near_pairs
from reelwright.data.lint.findings import Finding
from reelwright.data.lint.likeness import NUM_MOMENTS, look_alike
from reelwright.data.lint.look import Look
from reelwright.protocols.clips import Source

_TABLE = """
CREATE TABLE items (
    number INTEGER PRIMARY KEY, media TEXT, folder TEXT, stem TEXT, content TEXT, thumbnails TEXT, hashes BLOB
)
"""
_ALIKE_STEMS = """
SELECT media, stem, first_value(media) OVER same, row_number() OVER same AS place FROM items
WINDOW same AS (PARTITION BY folder, stem ORDER BY number)
"""
_SAME_CONTENT = """
SELECT number, min(number) OVER (PARTITION BY content) AS first FROM items
"""
_BLANK_SHARE = 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class Repetition:
    """An item that is the same as an earlier one."""

    media: str
    original: str
    is_exact: bool

    def finding(self) -> Finding:
        same = "is the same file as" if self.is_exact else "looks the same as"
        message = f"{same} {self.original}. Keep one, or it counts twice."
        return Finding(kind="duplicate", severity="warning", message=message)


class Roll:
    """One row for each item, in a database that vanishes with this object; use it in a `with`."""

    def __init__(self) -> None:
        # An empty name is a file of sqlite's own: memory stays small with a million items.
        self._connection = sqlite3.connect("", isolation_level=None)
        self._connection.execute(_TABLE)

    def __enter__(self) -> "Roll":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def add(self, source: Source, folder: str, content: str, look: Look) -> None:
        """Note an item whose caches go to `folder`."""
        # What shows nothing looks like everything else that shows nothing.
        can_be_told = bool(look.hashes) and look.blank <= _BLANK_SHARE * look.duration
        hashes = np.array(look.hashes, np.uint64).tobytes() if can_be_told else None
        row = (source.media, folder, source.stem, content, look.thumbnails, hashes)
        self._connection.execute("INSERT INTO items VALUES (NULL, ?, ?, ?, ?, ?, ?)", row)

    def alike_stems(self) -> Iterator[tuple[str, Finding]]:
        """Items whose cache files would have one name: each with what is said of it."""
        for media, stem, first, place in self._connection.execute(_ALIKE_STEMS):
            if place > 1:
                message = (
                    f"has the name {stem}, as {first}, and their caches would be one. Rename one of them,"
                    " or move it to a data set with its own cache_directory."
                )
                yield media, Finding(kind="name", severity="error", message=message)

    def repetitions(self) -> Iterator[Repetition]:
        """Items that an earlier one already shows, each once. One file in two data sets is meant so."""
        groups = Groups()
        for number, first in self._connection.execute(_SAME_CONTENT):
            groups.join(number, first)
        numbers, hashes = self._hashes()
        for one, other in near_pairs(hashes):
            pair = numbers[one], numbers[other]
            if groups.first(pair[0]) != groups.first(pair[1]) and self._look_alike(*pair):
                groups.join(*pair)
        for number, first in groups.members():
            media, content = self._row(number)
            original, original_content = self._row(first)
            if media != original:
                yield Repetition(media=media, original=original, is_exact=content == original_content)

    def _hashes(self) -> tuple[list[int], Hashes]:
        """The numbers of the items that can be told, and their hashes."""
        cursor = self._connection.execute("SELECT number, hashes FROM items WHERE hashes IS NOT NULL")
        numbers: list[int] = []
        packed = bytearray()
        for number, hashes in cursor:
            numbers.append(number)
            packed += hashes
        return numbers, np.frombuffer(bytes(packed), np.uint64).reshape(-1, NUM_MOMENTS)

    def _look_alike(self, one: int, other: int) -> bool:
        return look_alike(self._thumbnails(one), self._thumbnails(other))

    def _thumbnails(self, number: int) -> str:
        select = "SELECT thumbnails FROM items WHERE number = ?"
        return self._connection.execute(select, (number,)).fetchone()[0]

    def _row(self, number: int) -> tuple[str, str]:
        return self._connection.execute(
            "SELECT media, content FROM items WHERE number = ?", (number,)
        ).fetchone()
