"""One pass over the frames of a picture or clip, with all gauges along."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from reelwright.core.errors import FileError
from reelwright.data.lint.bars import BarsGauge
from reelwright.data.lint.blankness import is_blank
from reelwright.data.lint.block_means import BLOCKS, block_means
from reelwright.data.lint.likeness import LikenessGauge
from reelwright.data.lint.look import Look
from reelwright.data.lint.scene_cuts import CutGauge
from reelwright.data.lint.stillness import StillnessGauge
from reelwright.data.local_media import local_media
from reelwright.media.contact_sheet import evenly_spaced
from reelwright.media.container_frames import container_frames
from reelwright.media.frame_chunks import Pixels
from reelwright.media.geometry import Box, Size
from reelwright.media.image_ops import fit_image, open_image
from reelwright.media.picture_frames import is_picture_clip, picture_frames
from reelwright.media.shown_frames import ShownFrame
from reelwright.protocols.clips import MediaFacts, Source

_WATCHED_SIDE = 256
"""Pixels of the longer side at which every frame is seen."""
_MEASURED_SIDE = 1920
"""Pixels of the longer side at which bars are measured, in a few frames; of a larger one, in its share."""
_NUM_MEASURED = 12


def watch(source: Source, facts: MediaFacts) -> Look:
    """See all frames of a source. What breaks off is told in the look. Raises FileError for bad pictures.

    One frame is held at a time, whatever the length.
    """
    with local_media(source.media) as path:
        if source.kind == "image":
            return _watched(iter([_still(path)]), facts)
        shown = picture_frames(path) if is_picture_clip(path) else container_frames(path)
        try:
            return _watched(shown, facts)
        except FileError as error:
            # Remembered by content: it must not name the file, which may be found elsewhere too.
            message = str(error).removeprefix(f"{path}: ").removeprefix(f"{path}/")
            return Look(size=facts.size, num_frames=0, duration=0.0, error=message)


def _watched(shown: Iterator[ShownFrame], facts: MediaFacts) -> Look:
    gauges = _Gauges(facts)
    for frame in shown:
        gauges.add(frame)
    return gauges.look()


class _Gauges:
    """Everything that is measured of one clip."""

    def __init__(self, facts: MediaFacts) -> None:
        self._facts = facts
        self._small = _fitting(facts.size, _WATCHED_SIDE, smallest=BLOCKS)
        self._large = _fitting(facts.size, _MEASURED_SIDE)
        self._measured = set(evenly_spaced(facts.num_frames, _NUM_MEASURED))
        self._bars, self._cuts, self._stillness = BarsGauge(), CutGauge(), StillnessGauge()
        self._likeness: LikenessGauge | None = None
        self._num_frames, self._start, self._end, self._blank = 0, 0.0, 0.0, 0.0
        self._intervals: tuple[float, float] | None = None
        self._last: Pixels | None = None

    def add(self, frame: ShownFrame) -> None:
        if self._num_frames in self._measured:
            self._bars.add(frame.pixels(self._large))
        small = frame.pixels(self._small)
        means = block_means(small)
        self._stillness.add(means, frame.start, frame.end)
        self._cuts.add(small, frame.start)
        if self._likeness is None:
            self._likeness = LikenessGauge(self._facts.duration or self._facts.num_frames * frame.end)
        self._likeness.add(small, frame.end)
        if is_blank(means):
            self._blank += frame.end - frame.start
        self._note_interval(frame.start)
        self._num_frames, self._end, self._last = self._num_frames + 1, frame.end, small

    def look(self) -> Look:
        if self._likeness is None or self._last is None:
            return Look(size=self._facts.size, num_frames=0, duration=0.0, error="holds no frames.")
        self._likeness.finish(self._last)
        shortest, longest = self._intervals or (0.0, 0.0)
        return Look(
            size=self._facts.size,
            num_frames=self._num_frames,
            duration=self._end,
            content_box=_enlarged(self._bars.content_box(), self._large, self._facts.size),
            cuts=self._cuts.cuts(),
            stills=self._stillness.stretches(),
            blank=self._blank,
            longest_interval=longest,
            shortest_interval=shortest,
            hashes=self._likeness.hashes,
            thumbnails=self._likeness.thumbnails,
        )

    def _note_interval(self, start: float) -> None:
        if self._num_frames:
            interval = start - self._start
            shortest, longest = self._intervals or (interval, interval)
            self._intervals = min(shortest, interval), max(longest, interval)
        self._start = start


def _still(path: Path) -> ShownFrame:
    """A picture as a clip of one frame that is shown for no time."""
    picture = open_image(path).rgb
    return ShownFrame(
        start=0.0,
        end=0.0,
        size=picture.size,
        pixels=lambda size: np.asarray(fit_image(picture, *size, "stretch")),
    )


def _fitting(size: Size, longest: int, smallest: int = 1) -> Size:
    """`size` reduced until its longer side is `longest` at most, distorted where a side would vanish."""
    scale = min(longest / max(size), 1.0)
    return max(round(size[0] * scale), smallest), max(round(size[1] * scale), smallest)


def _enlarged(box: Box | None, measured: Size, size: Size) -> Box | None:
    """A box in pixels of the frame itself; where it was measured in a smaller one, rounded inward."""
    if box is None:
        return None
    across, down = size[0] / measured[0], size[1] / measured[1]
    left, top, right, bottom = box
    return (
        -int(-left * across // 1),
        -int(-top * down // 1),
        int(right * across),
        int(bottom * down),
    )
