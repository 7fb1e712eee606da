"""What belongs to a cache: one file in its folder that lists the others, readable without loading it."""

import hashlib
import json
import sqlite3
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, fields
from functools import lru_cache
from operator import attrgetter
from pathlib import Path
from threading import Lock
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from reelwright.core import locations
from reelwright.core.errors import FileError
from reelwright.data.cache_folder import CacheFolder

_VERSION = 1
_PREFIX, _SUFFIX = ".reelwright-", ".sqlite"
_ADVICE = "Run `reelwright cache latents` and `reelwright cache text` with this data set"
_ROWS_AT_ONCE = 1000
_SOURCES_REMEMBERED = 1000
_ODD_VALUES = (LookupError, OverflowError, TypeError, ValueError)


@dataclass(frozen=True, kw_only=True, slots=True)
class IndexRow:
    """One file of a cache."""

    file: str
    """Its name in the folder."""
    fingerprint: str
    """Of all that it follows from, as its own metadata says."""
    group: str = ""
    """Items of one group can be stacked to a batch."""
    num_items: int = 1
    """Training items in it."""
    stem: str
    """The name of the clip: by it latents find their text."""
    source: str = ""
    """The clip or caption it was made of, a path or URL."""
    source_stamp: str = ""
    """What `locations.stamp` gave for the source; "" where that tells nothing of this file."""
    more_sources: tuple[tuple[str, str], ...] = ()
    """What else it was made of, as control pictures, each with its stamp."""


SourceState = Literal["changed", "gone"]
_COLUMNS = tuple(field.name for field in fields(IndexRow))
_TABLES = f"""
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA user_version = {_VERSION};
CREATE TABLE identity (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE digest (value TEXT NOT NULL);
CREATE TABLE groups (number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE files (
    number INTEGER PRIMARY KEY, file TEXT NOT NULL, fingerprint TEXT NOT NULL, group_number INTEGER NOT NULL,
    num_items INTEGER NOT NULL, stem TEXT NOT NULL, source TEXT NOT NULL, source_stamp TEXT NOT NULL,
    more_sources TEXT NOT NULL
);
CREATE TEMP TABLE given (
    file TEXT PRIMARY KEY, fingerprint TEXT, "group" TEXT, num_items INTEGER, stem TEXT, source TEXT,
    source_stamp TEXT, more_sources TEXT
) WITHOUT ROWID;
"""
# Numbers follow from names alone: the same files give the same index, whoever was done first.
_FILL = """
INSERT INTO groups (number, name) SELECT row_number() OVER (ORDER BY "group") - 1, "group"
    FROM (SELECT DISTINCT "group" FROM given);
INSERT INTO files SELECT row_number() OVER (ORDER BY file) - 1, file, fingerprint, groups.number, num_items,
    stem, source, source_stamp, more_sources FROM given JOIN groups ON groups.name = "group" ORDER BY file;
CREATE UNIQUE INDEX files_by_file ON files (file);
CREATE INDEX files_by_stem ON files (stem);
"""
_SELECT = (
    "SELECT file, fingerprint, groups.name, num_items, stem, source, source_stamp, more_sources"
    " FROM files JOIN groups ON groups.number = group_number"
)
_SOURCES = """
SELECT number, source, source_stamp FROM files WHERE source_stamp != ''
UNION ALL SELECT files.number, json_extract(more.value, '$[0]'), json_extract(more.value, '$[1]')
    FROM files, json_each(files.more_sources) AS more WHERE more_sources != '[]'
ORDER BY 1
"""
_ORDER = "ORDER BY files.number"


def index_name(kind: str) -> str:
    """The name of the index of one kind of cache."""
    return f"{_PREFIX}{kind}{_SUFFIX}"


def write_index(
    folder: CacheFolder, kind: str, identity: Mapping[str, str], rows: Iterable[IndexRow]
) -> None:
    """List the files of one kind, in place of the list that was there; whole or not at all.

    The order of rows does not matter. Raises FileError where two rows name one file, or the disk refuses.
    """
    name = index_name(kind)
    with (
        folder.building(name) as path,
        _refused(folder.place(name), "cannot be written"),
        closing(sqlite3.connect(path)) as database,
    ):
        database.executescript(_TABLES)
        database.executemany("INSERT INTO identity VALUES (?, ?)", sorted(identity.items()))
        _insert(database, rows, folder)
        database.executescript(_FILL)
        database.execute("INSERT INTO digest VALUES (?)", (_digest(database),))
        database.commit()


def read_index(folder: CacheFolder, kind: str) -> "CacheIndex":
    """Open the list of the files of one kind; close it after use.

    Raises FileError with the command to run where there is none, or it is damaged.
    """
    place = folder.place(index_name(kind))
    if not locations.exists(place):
        raise FileError(f"{folder.location}: there is no finished cache of {kind}. {_ADVICE} first.")
    with ExitStack() as opened:
        path = opened.enter_context(locations.local_copy(place))
        index = CacheIndex(folder, kind, path)
        index.holds = opened.pop_all()
    return index


def list_kinds(folder: CacheFolder) -> list[str]:
    """The kinds of caches that a folder has a list of."""
    if not locations.exists(folder.location):
        return []
    names = map(locations.name_of, locations.list_files(folder.location))
    return sorted(
        name[len(_PREFIX) : -len(_SUFFIX)]
        for name in names
        if name.startswith(_PREFIX) and name.endswith(_SUFFIX)
    )


class CacheIndex:
    """The files of one kind in a folder, numbered from 0 in the order of their names.

    Rows stay on disk until they are asked for; any thread may ask. A context manager.
    """

    def __init__(self, folder: CacheFolder, kind: str, path: Path) -> None:
        self.folder = folder
        self.kind = kind
        self.place = folder.place(index_name(kind))
        self._path = path
        self.holds = ExitStack()
        """What is given back when it is closed: the copy of an index at a URL."""
        self._lock = Lock()
        with _refused(self.place, "is damaged"):
            self._database = _open(path)
            version = self._ask("PRAGMA user_version")[0][0]
            if version != _VERSION:
                raise FileError(f"{self.place}: is an index of version {version}. {_ADVICE} again.")
            self.identity = dict(self._ask("SELECT name, value FROM identity"))
            self.groups = tuple(name for (name,) in self._ask("SELECT name FROM groups ORDER BY number"))
            self.order = str(self._ask("SELECT value FROM digest")[0][0])
            """Tells lists apart whose files, groups or numbers of items differ."""
            counts = self._ask("SELECT count(*), coalesce(sum(num_items), 0) FROM files")
        self.num_files, self.num_items = (int(count) for count in counts[0])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._database.close()
        self.holds.close()

    def check(self) -> None:
        """Look through all of the index. Raises FileError where it is damaged."""
        with _refused(self.place, "is damaged"):
            problems = [text for (text,) in self._ask("PRAGMA integrity_check(1)")]
            with self._lock:
                order = _digest(self._database)
            if problems != ["ok"] or order != self.order:
                raise ValueError(problems[0] if problems != ["ok"] else "its digest is another one")

    def row(self, number: int) -> IndexRow:
        """One file. Raises LookupError for a number that none has."""
        with _refused(self.place, "is damaged"):
            (found,) = self._ask(f"{_SELECT} WHERE files.number = ?", (number,)) or [None]
        if found is None:
            raise LookupError(f"{self.place} has no file of number {number}")
        return self._row(found)

    def rows(self) -> Iterator[IndexRow]:
        """All files, a few in memory at a time."""
        yield from map(self._row, self._some_at_a_time(f"{_SELECT} {_ORDER}"))

    def counts(self) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """The number of each file's group in `groups`, and how many training items it holds."""
        numbers = self._column("SELECT group_number FROM files ORDER BY number")
        num_items = self._column("SELECT num_items FROM files ORDER BY number")
        with _refused(self.place, "is damaged"):
            if self.num_files and not (0 <= numbers.min() <= numbers.max() < len(self.groups)):
                raise ValueError("a group that is not listed")
            if self.num_files and num_items.min() < 0:
                raise ValueError("a negative number of items")
        return numbers, num_items

    def sources(self) -> Iterator[tuple[int, str, str]]:
        """Number, source and its stamp of the files whose sources can be told to have changed."""
        yield from self._some_at_a_time(_SOURCES)

    def match_stems(self, other: "CacheIndex") -> NDArray[np.int32]:
        """For each file here the number of the file of the same stem there, or -1."""
        with _refused(other.place, "is damaged"):
            self._ask("ATTACH ? AS other", (_uri(other._path),))
            try:
                return self._column(
                    "SELECT coalesce((SELECT min(number) FROM other.files WHERE stem = main.files.stem), -1)"
                    " FROM main.files ORDER BY number"
                )
            finally:
                self._ask("DETACH other")

    def _row(self, values: Sequence[Any]) -> IndexRow:
        *plain, more = values
        with _refused(self.place, "is damaged"):
            more_sources = tuple((str(source), str(mark)) for source, mark in json.loads(more))
            return IndexRow(**dict(zip(_COLUMNS[:-1], plain, strict=True)), more_sources=more_sources)

    def _ask(self, question: str, values: Sequence[object] = ()) -> list[Any]:
        with self._lock:
            return self._database.execute(question, values).fetchall()

    def _some_at_a_time(self, question: str) -> Iterator[Any]:
        with _refused(self.place, "is damaged"), self._lock:
            found = self._database.execute(question)
        while True:
            with _refused(self.place, "is damaged"), self._lock:
                rows = found.fetchmany(_ROWS_AT_ONCE)
            if not rows:
                return
            yield from rows

    def _column(self, question: str) -> NDArray[np.int32]:
        with _refused(self.place, "is damaged"), self._lock:
            values = (value for (value,) in self._database.execute(question))
            return np.fromiter(values, np.int32, count=self.num_files)


def stale_rows(index: CacheIndex, *, remote: bool = False) -> Iterator[IndexRow]:
    """Files whose source has changed since they were made.

    Sources at URLs, which take long to ask, are looked at only where `remote`. A source that is gone counts
    as unchanged: caches may be moved to machines without the media.
    """
    for row, state in altered_rows(index, remote=remote):
        if state == "changed":
            yield row


def altered_rows(index: CacheIndex, *, remote: bool = False) -> Iterator[tuple[IndexRow, SourceState]]:
    """Files whose source has changed since they were made, or is gone."""
    # The files of one clip follow each other, and many captions come from one list.
    state_of = lru_cache(maxsize=_SOURCES_REMEMBERED)(_state)
    for number, source, mark in index.sources():
        if remote or not locations.is_url(source):
            state = state_of(source, mark)
            if state is not None:
                yield index.row(number), state


def _state(source: str, mark: str) -> SourceState | None:
    try:
        found = locations.stamp(source)
    except FileError:
        if locations.exists(source):
            raise
        return "gone"
    return None if found == mark else "changed"


def _insert(database: sqlite3.Connection, rows: Iterable[IndexRow], folder: CacheFolder) -> None:
    command = f"INSERT INTO given VALUES ({', '.join('?' * len(_COLUMNS))})"
    plain = attrgetter(*_COLUMNS[:-1])
    for row in rows:
        try:
            database.execute(command, (*plain(row), json.dumps(row.more_sources)))
        except sqlite3.IntegrityError as error:
            query = "SELECT source FROM given WHERE file = ?"
            ((other,),) = database.execute(query, (row.file,)).fetchall()
            raise FileError(
                f"{folder.place(row.file)}: is the cache of both {other} and {row.source}."
                " Rename one of them, or give their data sets different cache directories."
            ) from error


def _digest(database: sqlite3.Connection) -> str:
    digest = hashlib.sha256()
    question = "SELECT file, groups.name, num_items FROM files JOIN groups ON groups.number = group_number"
    for found in database.execute(f"{question} {_ORDER}"):
        digest.update(repr(found).encode())
    return digest.hexdigest()


def _open(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(_uri(path), uri=True, check_same_thread=False)


def _uri(path: Path) -> str:
    # The file is only ever replaced, never changed: no locks, which network file systems lack.
    return f"{path.absolute().as_uri()}?mode=ro&immutable=1"


@contextmanager
def _refused(place: str, what: str) -> Generator[None, None, None]:
    try:
        yield
    except (sqlite3.Error, *_ODD_VALUES) as error:
        raise FileError(f"{place}: the index {what} ({error}). {_ADVICE} again.") from error
