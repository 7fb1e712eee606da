"""Training items out of the caches of data sets; whatever does not fit what is listed is refused by name."""

import hashlib
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reelwright.core.errors import ConfigError, FileError, UserError
from reelwright.data.batches import Supply
from reelwright.data.cache_folder import CacheFolder, fingerprint_of, numeric_flaw
from reelwright.data.cache_index import CacheIndex, IndexRow, stale_rows
from reelwright.protocols.caching import ItemReader

_NUM_SHOWN = 3
_REMAKE = "Run the cache command again, which makes it anew."
_FAULTS = (ArithmeticError, AttributeError, LookupError, OSError, RuntimeError, TypeError, ValueError)
"""What code gives up with over a file that is not as it should be."""


@dataclass(frozen=True, kw_only=True)
class CacheSet:
    """The caches of one data set and how they are read."""

    latents: CacheIndex
    texts: CacheIndex
    reader: ItemReader
    batch_size: int = 1
    num_repeats: int = 1
    rows: NDArray[np.int32] | None = None
    """The files of latents that are used, by their numbers in the index, ascending; None uses all."""

    @property
    def num_files(self) -> int:
        return self.latents.num_files if self.rows is None else len(self.rows)

    @property
    def num_items(self) -> int:
        return self.latents.num_items if self.rows is None else int(self.latents.counts()[1][self.rows].sum())


@dataclass(frozen=True, kw_only=True)
class CachedItem:
    """What the trainer is given of one item."""

    name: str
    """For messages: the file, and its item where it has several."""
    tensors: dict[str, Tensor]
    seed: int
    """Where its random numbers for training start, in 63 bits."""


class CachedItems:
    """The items of several data sets, of which a few numbers each are in memory and all else on disk.

    Raises FileError where clips have no text, a source has changed since it was encoded, or nothing is
    there at all. The sets are open until this is closed; any thread may read. A context manager.
    """

    def __init__(self, sets: Sequence[CacheSet], *, check_sources: bool = True) -> None:
        self._sets = tuple(sets)
        if not sum(each.num_items for each in self._sets):
            raise ConfigError("dataset: there are no cached items. Run `reelwright cache latents` first.")
        if check_sources:
            for index in (index for each in self._sets for index in (each.latents, each.texts)):
                _check_sources(index)
        self._texts = [_match_texts(each) for each in self._sets]
        self._ends = np.cumsum([each.num_files for each in self._sets])
        self.supply = _supply(self._sets)
        self.identity = _identity(self._sets)
        """Tells supplies apart that give other orders."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for part in self._sets:
            part.latents.close()
            part.texts.close()

    @property
    def num_items(self) -> int:
        """Of all sets together, each once."""
        return sum(each.num_items for each in self._sets)

    def read(self, file: int, draw: int, *, seed: int, epoch: int) -> CachedItem:
        """Item `draw` of a file, as `EpochOrder` counts them; what is drawn at random follows from all four.

        Raises FileError with the item's name for whatever is wrong with it.
        """
        number = int(np.searchsorted(self._ends, file, side="right"))
        part = self._sets[number]
        row_number = file - (int(self._ends[number - 1]) if number else 0)
        if part.rows is not None:
            row_number = int(part.rows[row_number])
        row = part.latents.row(row_number)
        item = draw % row.num_items
        place = part.latents.folder.place(row.file)
        name = f"{place} item {item}" if row.num_items > 1 else place
        with _named(name, part.latents.folder, row):
            latents = _read_file(part.latents.folder, row)
            tensors = part.reader.read(latents, item, _generator("read", seed, epoch, row.file, draw))
        text_row = part.texts.row(int(self._texts[number][row_number]))
        with _named(name, part.texts.folder, text_row):
            features = part.reader.read_text(_read_file(part.texts.folder, text_row))
        with _named(name, part.latents.folder, row):
            return CachedItem(
                name=name, tensors=_sound(tensors, features), seed=_seed("train", seed, epoch, row.file, draw)
            )

    def group(self, file: int) -> str:
        """The name of a file's group."""
        number = int(np.searchsorted(self._ends, file, side="right"))
        before = sum(len(each.latents.groups) for each in self._sets[:number])
        return self._sets[number].latents.groups[int(self.supply.groups[file]) - before]


def _check_sources(index: CacheIndex) -> None:
    stale = stale_rows(index)
    first = [row.source for row in islice(stale, _NUM_SHOWN)]
    if first:
        count = len(first) + sum(1 for _ in stale)
        raise FileError(
            f"{index.folder.location}: {count:,} of {index.num_files:,} files of {index.kind} were made of"
            f" sources that have changed since: {_list(first, count)}. Run the cache command again, which"
            " makes anew what is affected."
        )


def _match_texts(part: CacheSet) -> NDArray[np.int32]:
    matches = part.latents.match_stems(part.texts)
    missing = np.flatnonzero(matches < 0)
    if len(missing):
        first = [part.latents.row(int(number)).stem for number in missing[:_NUM_SHOWN]]
        raise FileError(
            f"{part.latents.folder.location}: {len(missing):,} of {len(matches):,} files have no text in"
            f" {part.texts.place}: {_list(first, len(missing))}."
            " Run `reelwright cache text` with this data set."
        )
    return matches


def _list(first: Sequence[str], count: int) -> str:
    shown = list(dict.fromkeys(first))
    return ", ".join(shown) + (", ..." if count > len(first) else "")


def _supply(sets: Sequence[CacheSet]) -> Supply:
    groups: list[NDArray[np.int32]] = []
    counts: list[NDArray[np.int32]] = []
    repeats: list[int] = []
    sizes: list[int] = []
    for part in sets:
        numbers, num_items = part.latents.counts()
        if part.rows is not None:
            numbers, num_items = numbers[part.rows], num_items[part.rows]
        groups.append(numbers + np.int32(len(repeats)))
        counts.append(num_items)
        repeats += [part.num_repeats] * len(part.latents.groups)
        sizes += [part.batch_size] * len(part.latents.groups)
    return Supply(
        groups=np.concatenate(groups),
        num_items=np.concatenate(counts),
        num_repeats=np.array(repeats, np.int32),
        batch_sizes=np.array(sizes, np.int32),
    )


def _identity(sets: Sequence[CacheSet]) -> str:
    facts = [
        (each.latents.order, each.num_repeats, each.batch_size, *_identity_of_rows(each)) for each in sets
    ]
    return hashlib.sha256(repr(facts).encode()).hexdigest()


def _identity_of_rows(part: CacheSet) -> tuple[str, ...]:
    return () if part.rows is None else (hashlib.sha256(part.rows.tobytes()).hexdigest(),)


def _generator(use: str, seed: int, epoch: int, file: str, draw: int) -> torch.Generator:
    return torch.Generator().manual_seed(_seed(use, seed, epoch, file, draw))


def _seed(use: str, seed: int, epoch: int, file: str, draw: int) -> int:
    """Uses do not share their random numbers."""
    digest = hashlib.sha256(f"{use} {seed} {epoch} {draw} {file}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def _read_file(folder: CacheFolder, row: IndexRow) -> dict[str, Tensor]:
    tensors, metadata = folder.read(row.file)
    if fingerprint_of(tensors, metadata) != row.fingerprint:
        raise FileError(f"it is another file than the one that was listed. {_REMAKE}")
    return tensors


def _sound(tensors: Mapping[str, Tensor], features: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Both together. Raises FileError for a name in both, NaN and infinity."""
    if both := sorted(tensors.keys() & features.keys()):
        raise FileError(f"{', '.join(both)} is in its latents and in its text. Remove one of the files.")
    found = {**tensors, **features}
    if flaw := numeric_flaw(found):
        raise FileError(f"{flaw}. {_REMAKE}")
    return found


@contextmanager
def _named(name: str, folder: CacheFolder, row: IndexRow) -> Generator[None, None, None]:
    """Put the item's name, its file and what it was made of before whatever is wrong with it."""
    place = folder.place(row.file)
    where = name if name.startswith(place) else f"{name}: {place}"
    made_of = f" (of {row.source})" if row.source else ""
    try:
        yield
    except UserError as error:
        message = str(error).removeprefix(f"{place}: ")
        raise FileError(f"{where}{made_of}: {message}") from error
    except _FAULTS as error:
        raise FileError(
            f"{where}{made_of}: is not what it should be ({type(error).__name__}: {error}). {_REMAKE}"
        ) from error
    except Exception as error:
        error.add_note(f"It was reading {where}{made_of}.")
        raise
