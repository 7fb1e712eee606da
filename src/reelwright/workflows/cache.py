"""Encode data sets: skip what is there and fits, encode the rest, write down what there is."""

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from reelwright.core.config import validate
from reelwright.core.errors import ConfigError, FileError, UserError
from reelwright.core.events import ClipFailed, Event, Facts, Finished, Notice, StageStarted, StepDone
from reelwright.core.locations import is_url
from reelwright.core.paths import check_writable, remove_leftovers
from reelwright.data.cache_index import write_index
from reelwright.protocols.cache_configs import CacheConfig, CacheLatentsConfig
from reelwright.protocols.caching import Caching, LatentCache, TextCache
from reelwright.protocols.datasets import DatasetConfig
from reelwright.workflows.caching.adoption import adopt
from reelwright.workflows.caching.datasets import (
    absolute,
    caching_of,
    check_datasets,
    folder_of,
    open_datasets,
    open_ledger,
)
from reelwright.workflows.caching.executors import order_size, run_orders
from reelwright.workflows.caching.holding import hold_folder
from reelwright.workflows.caching.identity import (
    check_owner,
    latents_identity,
    settings_identity,
    text_identity,
)
from reelwright.workflows.caching.orders import Item, ItemFailed, Kind
from reelwright.workflows.caching.planning import (
    Planner,
    Survey,
    is_present,
    latent_planner,
    make_orders,
    survey,
    text_planner,
)
from reelwright.workflows.caching.pruning import prune_folder
from reelwright.workflows.caching.ranks import num_ranks, own_share, rank, wait_for_all


def run(family: str, kind: Kind, config: CacheConfig) -> Iterator[Event]:
    """Encode the clips (latents) or captions (text) of all data sets of a file.

    What can be wrong with the file, the checkpoint and the folders is found before a network loads. A clip
    or caption that cannot be used is listed at the end; the others are encoded. However a run is stopped, the
    next one goes on. Raises UserError at the end if anything failed.
    """
    config = validate(config, f"cache {kind}")
    _check_flags(config)
    caching = caching_of(family)
    overrides = {"batch_size": config.batch_size} if config.batch_size else {}
    datasets = open_datasets(config.dataset, overrides).datasets
    with ExitStack() as held:
        work = _work_of(kind, config, caching, datasets, held)
        making = _Making(family=family, kind=kind, config=config, work=work)
        yield from map(Notice, work.cache.notices)
        for dataset in datasets:
            held.enter_context(_held(dataset, work.cache.kind))
        yield from making.run(datasets)


def _check_flags(config: CacheConfig) -> None:
    """Refuse what would have no effect. Raises ConfigError."""
    if config.force and config.import_from is not None:
        raise ConfigError(
            "import_from: takes files over instead of encoding, and force encodes everything. Leave out one."
        )
    if config.ray_address and config.executor != "ray":
        raise ConfigError("ray_address: needs Ray. Add --executor ray, or leave it out.")
    if isinstance(config, CacheLatentsConfig) and config.execution.tile_size and not config.execution.tiling:
        raise ConfigError("execution.tile_size: needs tiles. Add --execution.tiling, or leave it out.")
    if num_ranks() > 1 and (config.processes or config.executor == "ray"):
        raise ConfigError(
            "processes, executor: under torchrun its ranks share the work. Leave them out, or run without"
            " torchrun."
        )


@dataclass(frozen=True, kw_only=True)
class _Work:
    """What differs between clips and captions."""

    cache: LatentCache | TextCache
    planner: Planner
    identity: Callable[[DatasetConfig], dict[str, str]]


def _work_of(
    kind: Kind, config: CacheConfig, caching: Caching, datasets: Sequence[DatasetConfig], held: ExitStack
) -> _Work:
    if kind == "text":
        texts = caching.locate_texts(config)
        return _Work(cache=texts, planner=text_planner(texts), identity=partial(text_identity, texts))
    latents = caching.locate_latents(config)
    check_datasets(latents, datasets)
    ledger = held.enter_context(closing(open_ledger()))
    return _Work(
        cache=latents,
        planner=latent_planner(latents, ledger),
        identity=partial(latents_identity, latents),
    )


@dataclass(kw_only=True)
class _Making:
    """One run over all data sets."""

    family: str
    kind: Kind
    config: CacheConfig
    work: _Work
    failures: list[str] = field(default_factory=list[str])
    peak_memory: int = 0
    num_taken_over: int = 0

    def run(self, datasets: Sequence[DatasetConfig]) -> Generator[Event]:
        started = time.perf_counter()
        surveys: list[Survey] = []
        for dataset in datasets:
            surveys.append((yield from survey(dataset, self.work.planner, self.config.num_workers)))
            self.failures += surveys[-1].failures
        _check_there_is_something(surveys, self.failures)
        missing: list[Item] = []
        for found in surveys:
            missing += yield from self._missing(found)
        num_encoded = yield from self._encode(missing)
        wait_for_all()
        if rank() == 0:
            for found in surveys:
                yield from self._write_down(found)
        num_items = sum(len(found.planned) for found in surveys)
        counts = {"items": num_items, "were there": num_items - len(missing) - self.num_taken_over}
        if self.config.import_from is not None:
            counts["taken over"] = self.num_taken_over
        counts |= {"encoded": num_encoded, "failed": len(self.failures)}
        yield Facts({name: str(count) for name, count in counts.items()})
        folders = tuple({"cache": found.folder.location} for found in surveys)
        yield Finished(folders, time.perf_counter() - started, self.peak_memory)
        if self.failures:
            raise UserError("\n".join(self.failures))

    def _missing(self, found: Survey) -> Generator[Event, None, list[Item]]:
        """What has to be encoded, after files of another program were taken over where they were offered."""
        items = [planned.item for planned in found.planned]
        if not self.config.force:
            items = [item for item in items if not is_present(item, found.folder)]
        if self.config.import_from is not None:
            offered = len(items)
            items = yield from adopt(items, self.kind, self.config, caching_of(self.family), found.folder)
            self.num_taken_over += offered - len(items)
        if not is_url(found.folder.location):
            needed = sum(entry.num_bytes for item in items for entry in item.entries)
            check_writable(Path(found.folder.location), needed)
        return items

    def _encode(self, items: Sequence[Item]) -> Generator[Event, None, int]:
        """Encode the items; how many were."""
        items = own_share(items)
        size = order_size(len(items), self.config)
        orders = make_orders(items, family=self.family, kind=self.kind, config=self.config, size=size)
        stage, done, before = f"encode {self.kind}", 0, time.perf_counter()
        yield StageStarted(stage, len(items))
        with closing(run_orders(orders, self.config)) as outcomes:
            for number, outcome in enumerate(outcomes, start=1):
                if isinstance(outcome, ItemFailed):
                    self.failures.append(f"{outcome.item.name}: {outcome.message}")
                    yield ClipFailed(number, len(items), self.failures[-1])
                else:
                    done += 1
                    self.peak_memory = max(self.peak_memory, outcome.peak_memory)
                now = time.perf_counter()
                yield StepDone(stage, number, len(items), now - before, self.peak_memory)
                before = now
        return done

    def _write_down(self, found: Survey) -> Iterator[Event]:
        """List what is there, whoever made it; remove what a killed run left, and strangers where asked."""
        whole = [planned for planned in found.planned if is_present(planned.item, found.folder)]
        cache = self.work.cache
        identity = self.work.identity(found.dataset) | settings_identity(self.config)
        write_index(found.folder, cache.kind, identity, (row for each in whole for row in each.rows))
        if not is_url(found.folder.location):
            remove_leftovers(Path(found.folder.location), inner=False)
        if self.config.prune and found.failures:
            yield Notice(f"{found.folder.location}: nothing is removed, as some sources were unreadable.")
        elif self.config.prune:
            yield from prune_folder(found.folder, cache.is_own, keep=_names(found))


def _check_there_is_something(surveys: Sequence[Survey], failures: Sequence[str]) -> None:
    if not any(found.planned for found in surveys):
        looked = ", ".join(found.dataset.origin for found in surveys)
        raise FileError("\n".join([*failures, f"{looked}: holds nothing that can be encoded."]))


def _names(found: Survey) -> set[str]:
    return {entry.name for planned in found.planned for entry in planned.item.entries}


@contextmanager
def _held(dataset: DatasetConfig, kind: str) -> Generator[None]:
    """Keep other runs from the cache folder of a data set, and other data sets too. Raises UserError."""
    folder = absolute(folder_of(dataset))
    check_owner(folder, kind, dataset)
    if is_url(folder) or rank() > 0:
        yield
        return
    check_writable(Path(folder))
    Path(folder).mkdir(parents=True, exist_ok=True)
    with hold_folder(folder, kind):
        yield
