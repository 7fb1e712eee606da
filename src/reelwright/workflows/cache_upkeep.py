"""Look after the caches of data sets: verify them, remove what belongs to nothing, tell what there is."""

import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass

from reelwright.core.ahead import run_ahead
from reelwright.core.config import validate
from reelwright.core.errors import ConfigError, FileError, UserError, suggestion
from reelwright.core.events import Event, Facts, Finished, ItemFinding, Notice, StageStarted, StepDone
from reelwright.core.locations import exists, local_path
from reelwright.core.paths import remove_leftovers
from reelwright.data.cache_checks import flaw_of
from reelwright.data.cache_folder import CacheFolder
from reelwright.data.cache_index import (
    CacheIndex,
    IndexRow,
    altered_rows,
    list_kinds,
    read_index,
    stale_rows,
    write_index,
)
from reelwright.protocols.cache_configs import CachePruneConfig, CacheTask, CacheVerifyConfig
from reelwright.workflows.caching.datasets import absolute, caching_of, folder_of, open_datasets
from reelwright.workflows.caching.holding import hold_folder
from reelwright.workflows.caching.pruning import find_strangers, prune_folder
from reelwright.workflows.caching.statistics import index_facts


def run(family: str, action: str, config: CacheTask) -> Iterator[Event]:
    """`verify`, `prune` or `stats` of the caches that a family has of all data sets of a file.

    No model is needed, and no source media are ever changed. `verify` tells of each problem, and
    raises UserError at the end if there is any.
    """
    if action not in _ACTIONS:
        raise ConfigError(f"cache: {action!r} is no action. {suggestion(action, _ACTIONS)}")
    config = validate(config, f"cache {action}")
    started = time.perf_counter()
    is_own = caching_of(family).kinds
    folders = [CacheFolder(absolute(folder_of(each))) for each in open_datasets(config.dataset).datasets]
    changes = action == "prune" or (isinstance(config, CacheVerifyConfig) and config.repair)
    with ExitStack() as opened:
        indexes: list[CacheIndex] = []
        for folder in folders:
            for kind in _kinds(folder, is_own):
                if changes:
                    opened.enter_context(hold_folder(folder.location, kind))
                indexes.append(opened.enter_context(read_index(folder, kind)))
        if not indexes:
            raise FileError(
                f"{', '.join(folder.location for folder in folders)}: there is no cache of this family."
                f" Run `reelwright cache latents {family}` with this data set first."
            )
        yield from _ACTIONS[action](indexes, is_own, config)
    yield Finished(tuple({"cache": folder.location} for folder in folders), time.perf_counter() - started)


IsOwn = Mapping[str, Callable[[str], bool]]


def _kinds(folder: CacheFolder, is_own: IsOwn) -> list[str]:
    """Those of the family that the folder has an index of."""
    return [kind for kind in list_kinds(folder) if kind in is_own]


@dataclass(kw_only=True)
class _Verifying:
    """What was found so far."""

    config: CacheVerifyConfig
    total: int
    done: int = 0
    num_problems: int = 0
    num_bad_files: int = 0
    """Of the problems, those that are in a file, which may be removed."""
    num_removed: int = 0

    def check(self, index: CacheIndex, is_own: Callable[[str], bool]) -> Iterator[Event]:
        """Look at the index, the sources and every file."""
        try:
            index.check()
            for row in stale_rows(index, remote=True):
                place = index.folder.place(row.file)
                yield self._problem(place, "stale", f"{row.source}, which it was made of, has changed since.")
            yield from self._files(index, is_own)
        except FileError as error:
            yield self._problem(index.place, "index", str(error))

    def _files(self, index: CacheIndex, is_own: Callable[[str], bool]) -> Iterator[Event]:
        def look(row: IndexRow) -> str:
            return flaw_of(index.folder, row)

        before, num_workers = time.perf_counter(), self.config.num_workers
        checks = run_ahead(look, index.rows(), num_workers=num_workers, num_ahead=4 * num_workers)
        with closing(checks) as results:
            for row, result in results:
                self.done += 1
                flaw = result.result()
                if flaw:
                    yield self._bad_file(index.folder, row, is_own, flaw)
                now = time.perf_counter()
                yield StepDone("verify", self.done, self.total, now - before)
                before = now

    def _bad_file(
        self, folder: CacheFolder, row: IndexRow, is_own: Callable[[str], bool], flaw: str
    ) -> Event:
        """Tell of a bad file, and remove it where that is asked for."""
        place = folder.place(row.file)
        if not exists(place):
            return self._problem(place, "missing", flaw)
        self.num_bad_files += 1
        if self.config.repair and is_own(row.file):
            folder.remove(row.file)
            self.num_removed += 1
            flaw += " It was removed."
        return self._problem(place, "damaged", flaw)

    def _problem(self, place: str, kind: str, message: str) -> Event:
        self.num_problems += 1
        return ItemFinding(place, kind, message.removeprefix(f"{place}: "), "error")


def _verify(indexes: Sequence[CacheIndex], is_own: IsOwn, config: CacheVerifyConfig) -> Iterator[Event]:
    verifying = _Verifying(config=config, total=sum(index.num_files for index in indexes))
    yield StageStarted("verify", verifying.total)
    for index in indexes:
        yield from verifying.check(index, is_own[index.kind])
        yield from _tell_strangers(index, is_own[index.kind])
    counts = (verifying.total, verifying.num_problems, verifying.num_removed)
    yield Facts(dict(zip(("files", "problems", "removed"), map(str, counts), strict=True)))
    if verifying.num_problems:
        again = "Run the cache commands again: they make anew what is missing or stale."
        if verifying.num_bad_files > verifying.num_removed:
            again = "Run this with --repair, which removes bad files, then the cache commands again."
        raise UserError(f"Problems: {verifying.num_problems:,}, listed above. {again}")


def _tell_strangers(index: CacheIndex, is_own: Callable[[str], bool]) -> Iterator[Event]:
    if strangers := find_strangers(index.folder, is_own, _listed(index.folder)):
        yield Notice(
            f"{index.folder.place(strangers[0])}: belongs to no item, and is never trained on; there are"
            f" {len(strangers):,} of these. Remove them with cache prune."
        )


def _prune(indexes: Sequence[CacheIndex], is_own: IsOwn, config: CachePruneConfig) -> Iterator[Event]:
    for index in indexes:
        yield StageStarted(f"prune {index.kind}")
        yield from _drop_gone(index, config.dry_run)
        yield from prune_folder(
            index.folder, is_own[index.kind], keep=_listed(index.folder), dry_run=config.dry_run
        )
        path = local_path(index.folder.location)
        if path is not None and not config.dry_run:
            remove_leftovers(path, inner=False)


def _drop_gone(index: CacheIndex, dry_run: bool) -> Generator[Event]:
    """Remove the files whose source is gone, from the index first: what is listed is never missing."""
    gone = {row.file: row.source for row, state in altered_rows(index, remote=True) if state == "gone"}
    if not gone:
        return
    if len(gone) == index.num_files:
        # Rather a disk that is not mounted than a data set that was emptied.
        yield Notice(
            f"{index.place}: all sources are gone, so its files are kept."
            " If that is meant, remove the folder."
        )
        return
    if not dry_run:
        left = (row for row in index.rows() if row.file not in gone)
        write_index(index.folder, index.kind, index.identity, left)
    for file, source in gone.items():
        if not dry_run:
            index.folder.remove(file)
        yield Notice(
            f"{index.folder.place(file)}: {'would be removed' if dry_run else 'removed'}, {source} is gone."
        )


def _listed(folder: CacheFolder) -> set[str]:
    """The files of all kinds of caches in a folder, those of other families too."""
    names: set[str] = set()
    for kind in list_kinds(folder):
        with read_index(folder, kind) as index:
            names.update(row.file for row in index.rows())
    return names


def _stats(indexes: Sequence[CacheIndex], is_own: IsOwn, _: CacheTask) -> Iterator[Event]:
    for index in indexes:
        yield StageStarted(f"count {index.kind}")
        yield Facts(index_facts(index, is_own[index.kind], _listed(index.folder)))


_ACTIONS: Mapping[str, Callable[..., Iterator[Event]]] = {
    "verify": _verify,
    "prune": _prune,
    "stats": _stats,
}
