"""What there is to encode: each clip or caption with its files and a fingerprint of all they follow from."""

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Protocol

from reelwright.core.ahead import run_ahead
from reelwright.core.errors import FileError, UserError
from reelwright.core.events import Event, StageStarted, StepDone
from reelwright.core.locations import exists, stamp
from reelwright.data.cache_folder import CacheFolder
from reelwright.data.cache_index import IndexRow
from reelwright.data.cache_store import content_key
from reelwright.data.clips import cut_clips
from reelwright.data.control_clips import kind_of_control, with_controls
from reelwright.data.media_facts import MediaLedger
from reelwright.data.sources import list_sources
from reelwright.data.sources.listing import Listed
from reelwright.protocols.cache_configs import CacheConfig
from reelwright.protocols.caching import LatentCache, TextCache
from reelwright.protocols.clips import Clip, Source
from reelwright.protocols.datasets import DatasetConfig
from reelwright.workflows.caching.datasets import absolute, folder_of
from reelwright.workflows.caching.orders import Item, Kind, Order

_GEOMETRY = "cover, center crop, lanczos"
"""How frames are brought to size; another way is another fingerprint."""
_READERS = 4
"""Media that are looked at side by side unless told otherwise: hashing waits for the disk."""


@dataclass(frozen=True, kw_only=True)
class Planned:
    """An item and the rows of the index that its files will have."""

    item: Item
    rows: tuple[IndexRow, ...]


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What a data set comes to."""

    dataset: DatasetConfig
    folder: CacheFolder
    planned: list[Planned] = field(default_factory=list[Planned])
    failures: list[str] = field(default_factory=list[str])
    """What cannot be used, and why."""


class Planner(Protocol):
    """Items of one source."""

    def __call__(self, source: Source, dataset: DatasetConfig, /) -> Iterator[Planned]: ...


def survey(dataset: DatasetConfig, planner: Planner, num_workers: int) -> Generator[Event, None, Survey]:
    """Look at every source of a data set. What is wrong with one is kept as a failure; the rest goes on.

    0 workers takes a few. Raises FileError where the data set cannot be listed to its end.
    """
    num_workers = num_workers or _READERS
    found = Survey(dataset=dataset, folder=CacheFolder(absolute(folder_of(dataset))))
    yield StageStarted("look at the data")

    def plan(listed: Listed) -> list[Planned]:
        if isinstance(listed, FileError):
            raise listed
        return list(planner(listed, dataset))

    looked_at = run_ahead(plan, list_sources(dataset), num_workers=num_workers, num_ahead=4 * num_workers)
    with closing(looked_at):
        for number, (listed, planned) in enumerate(looked_at, start=1):
            try:
                found.planned.extend(planned.result())
            except UserError as error:
                found.failures.append(_named(error, listed))
            yield StepDone("look at the data", number, 0, 0.0)
    return found


def latent_planner(cache: LatentCache, ledger: MediaLedger) -> Planner:
    """Plans the clips of a source."""

    def plan(source: Source, dataset: DatasetConfig) -> Iterator[Planned]:
        source = replace(source, media=absolute(source.media), controls=tuple(map(absolute, source.controls)))
        marks = [(each, stamp(each)) for each in (source.media, *source.controls)]
        rule, facts = cache.rule(dataset), cache.facts(dataset)
        kind = kind_of_control(source) or "image"
        controls = [ledger.facts(replace(source, media=each, kind=kind)) for each in source.controls]
        clips = cut_clips(source, ledger.facts(source), dataset, rule)
        for clip in with_controls(clips, controls, dataset, rule):
            fingerprint = content_key(
                **_clip_facts(clip),
                controls=[each.content for each in controls],
                family=facts,
                model=dict(cache.fingerprints),
            )
            item = Item(
                name=f"{source.media} from frame {clip.start}" if clip.start else source.media,
                folder=absolute(folder_of(dataset)),
                entries=tuple(cache.entries(clip, dataset)),
                fingerprint=fingerprint,
                clip=clip,
                dataset=dataset,
            )
            yield _planned(item, source, marks)

    return plan


def text_planner(cache: TextCache) -> Planner:
    """Plans the caption of a source."""
    stamp_of_list = lru_cache(stamp)  # as it was at the first caption, and not for each of them again

    def plan(source: Source, dataset: DatasetConfig) -> Iterator[Planned]:
        if source.caption is None:
            raise FileError(f"{source.media}: has no caption. Write one to {source.caption_origin}.")
        item = Item(
            name=source.caption_origin,
            folder=absolute(folder_of(dataset)),
            entries=(cache.entry(source),),
            fingerprint=content_key(
                caption=source.caption, family=cache.facts(), model=dict(cache.fingerprints)
            ),
            caption=source.caption,
            dataset=dataset,
        )
        if exists(source.caption_origin):
            written = absolute(source.caption_origin)
            yield _planned(item, source, [(written, stamp(written))])
        else:  # a caption within a list of many is as old as the list
            written = absolute(dataset.origin)
            yield _planned(item, source, [(written, stamp_of_list(written))])

    return plan


def make_orders(
    items: Iterable[Item], *, family: str, kind: Kind, config: CacheConfig, size: int
) -> list[Order]:
    """The items in orders of at most `size`, each of clips of one size and length, or of captions.

    Captions of one text come together: whoever encodes them does it once.
    """
    if kind == "text":
        items = sorted(items, key=lambda item: item.caption)
    groups: dict[object, list[Item]] = {}
    for item in items:
        groups.setdefault((item.folder, *_shape(item)), []).append(item)
    orders: list[Order] = []
    for members in groups.values():
        batch_size = _batch_size(kind, config, members[0].dataset)
        per_order = max(size // batch_size, 1) * batch_size
        for start in range(0, len(members), per_order):
            orders.append(
                Order(
                    number=len(orders),
                    family=family,
                    kind=kind,
                    config=config,
                    batch_size=batch_size,
                    items=tuple(members[start : start + per_order]),
                )
            )
    return orders


def is_present(item: Item, folder: CacheFolder) -> bool:
    """Whether every file of the item is there and follows from what it would be made of now."""
    return all(folder.fingerprint(entry.name) == item.fingerprint for entry in item.entries)


def _named(error: UserError, listed: Listed) -> str:
    """What is wrong with an item, and which one it is."""
    said = str(error)
    return said if isinstance(listed, FileError) or listed.media in said else f"{listed.media}: {said}"


def _batch_size(kind: Kind, config: CacheConfig, dataset: DatasetConfig) -> int:
    if kind == "text":  # captions of any length go together
        return config.batch_size or dataset.batch_size
    return min(config.batch_size or dataset.batch_size, dataset.batch_size)


def _shape(item: Item) -> tuple[object, ...]:
    return () if item.clip is None else (item.clip.size, item.clip.num_frames, len(item.clip.source.controls))


def _clip_facts(clip: Clip) -> dict[str, object]:
    return {
        "content": clip.facts.content,
        "start": clip.start,
        "num_frames": clip.num_frames,
        "size": list(clip.size),
        "fps": clip.fps,
        "source_fps": clip.source_fps,
        "trim_seconds": clip.trim_seconds,
        "geometry": _GEOMETRY,
    }


def _planned(item: Item, source: Source, marks: Sequence[tuple[str, str]]) -> Planned:
    """`marks` are all that it is made of, each with the stamp that it had before it was read."""
    (made_from, mark), *more = marks
    rows = (
        IndexRow(
            file=entry.name,
            fingerprint=item.fingerprint,
            group=entry.group,
            num_items=entry.num_items,
            stem=source.stem,
            source=made_from,
            source_stamp=mark,
            more_sources=tuple(more),
        )
        for entry in item.entries
    )
    return Planned(item=item, rows=tuple(rows))
