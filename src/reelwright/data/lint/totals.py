"""What a data set comes to: buckets, items, steps of an epoch, and what its caches will take."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from reelwright.media.geometry import Size
from reelwright.protocols.caching import CacheEntry
from reelwright.protocols.clips import Clip
from reelwright.protocols.datasets import DatasetConfig

Bucket = tuple[Size, int]
"""Width and height, and frames."""


@dataclass(kw_only=True)
class Totals:
    """Grows item by item; memory goes with the number of buckets and groups."""

    num_sources: int = 0
    num_captions: int = 0
    num_bytes: int = 0
    frame_pixels: int = 0
    """Of all frames that will be encoded, in all."""
    clips: Counter[Bucket] = field(default_factory=Counter[Bucket])
    _items: Counter[tuple[int, str]] = field(default_factory=Counter[tuple[int, str]])
    """Training items by number of the data set and group; groups are batched."""
    _datasets: dict[int, DatasetConfig] = field(default_factory=dict[int, DatasetConfig])

    def add_clips(self, number: int, dataset: DatasetConfig, clips: Sequence[Clip]) -> None:
        """Of one source of the data set `number`."""
        self._datasets[number] = dataset
        for clip in clips:
            self.clips[clip.size, clip.num_frames] += 1
            self.frame_pixels += clip.size[0] * clip.size[1] * clip.num_frames

    def add_entries(self, number: int, entries: Iterable[CacheEntry]) -> None:
        """The files that clips of the data set `number` become."""
        for entry in entries:
            self._items[number, entry.group] += entry.num_items
            self.num_bytes += entry.num_bytes

    def add_text(self, entry: CacheEntry) -> None:
        self.num_captions += 1
        self.num_bytes += entry.num_bytes

    @property
    def num_clips(self) -> int:
        return sum(self.clips.values())

    @property
    def num_items(self) -> int:
        """What is trained on in an epoch, repeats counted."""
        return sum(count * self._datasets[number].num_repeats for (number, _), count in self._items.items())

    @property
    def num_steps(self) -> int:
        """Batches of an epoch on one device: only items of one group are batched together."""
        return sum(
            math.ceil(count * self._datasets[number].num_repeats / self._datasets[number].batch_size)
            for (number, _), count in self._items.items()
        )
