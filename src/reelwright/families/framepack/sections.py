"""Which latents and which time indices each section sees: the one place, for making, caching and training.

A video is a timeline of latents: those known before (a start image, or a clip to extend), the sections, and
those known after (an end image, or a clip to arrive at). Each section is denoised alone and sees others as
clean context at full (1x), half (2x) and quarter (4x) resolution. Only numbers here (specs: FramePack 2).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from reelwright.core.errors import ConfigError
from reelwright.families.framepack.config import Direction
from reelwright.families.framepack.one_frame import OneFrameOptions
from reelwright.families.framepack.story_schema import TEMPORAL_STRIDE

Window = tuple[int, int]
"""A range of latents, its end outside."""


class ContextSizes(NamedTuple):
    """How many latents of context a section sees at 1x, 2x and 4x; the nearest in time are at 1x."""

    x1: int = 1
    x2: int = 2
    x4: int = 16


CONTEXT = ContextSizes()
"""What the released models know."""


class Source(NamedTuple):
    """What fills a slot of context."""

    kind: Literal["start", "latent", "control", "zero"]
    """start: the section's image. latent: a place on the timeline. control: an image of one-frame mode."""
    position: int = 0
    """Of a latent or a control image."""


START, ZERO = Source("start"), Source("zero")


@dataclass(frozen=True, kw_only=True)
class Slots:
    """Clean latents at one resolution, in the order the network gets them."""

    indices: tuple[int, ...]
    """Of each latent in time, for the rotary tables."""
    sources: tuple[Source, ...]


@dataclass(frozen=True, kw_only=True)
class SectionLayout:
    """What one section is and sees. A group of clean latents that is None is not given to the network."""

    section: int
    """Counted in time from 0."""
    positions: range
    """Where its latents go on the timeline."""
    indices: tuple[int, ...]
    """Of its latents in time, for the rotary tables."""
    clean_1x: Slots
    clean_2x: Slots | None
    clean_4x: Slots | None


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """Where the latents of a video lie, first to last."""

    num_sections: int
    window: int = 9
    """Latents of a section."""
    num_before: int = 1
    """Latents known before the first section: the start image, or a clip."""
    num_after: int = 0
    """Latents known after the last section: an end image, or a clip."""

    @property
    def num_latents(self) -> int:
        return self.num_before + self.num_sections * self.window + self.num_after

    def target(self, section: int) -> range:
        """The places of a section's own latents."""
        if not 0 <= section < self.num_sections:
            raise ValueError(f"section: {section} is not in 0..{self.num_sections - 1}.")
        first = self.num_before + section * self.window
        return range(first, first + self.window)

    def source(self, position: int) -> Source:
        """What is at a place, which may be off either end: there is nothing but zeros."""
        return Source("latent", position) if 0 <= position < self.num_latents else ZERO


def count_sections_of_clip(num_frames: int, window: int = 9) -> int:
    """How many whole sections a clip of so many frames holds after its first frame; 0 if it is too short."""
    return max(num_frames - 1, 0) // TEMPORAL_STRIDE // window


def count_frames(num_sections: int, window: int = 9) -> int:
    """Frames of a video of so many sections, with the first frame."""
    return frames_of_latents(1 + num_sections * window)


def frames_of_latents(num_latents: int) -> int:
    """Frames that a run of latents decodes to when nothing comes before it."""
    return TEMPORAL_STRIDE * (num_latents - 1) + 1


def section_order(direction: Direction, num_sections: int) -> range:
    """The sections in the order they are made: the last first (backward) or the first first (forward)."""
    order = range(num_sections)
    return order if direction == "forward" else order[::-1]


def section_paddings(num_sections: int, overrides: Sequence[int] = ()) -> tuple[int, ...]:
    """How many sections each section believes to lie between it and the start, in the order made (backward).

    Above four sections the middle ones all believe in two: distances the model saw in training. `overrides`
    replace the first values. Raises ConfigError for a negative value or more values than sections.
    """
    if any(padding < 0 for padding in overrides):
        raise ConfigError(
            f"latent_paddings: {', '.join(map(str, overrides))} has a negative number."
            " Use 0 to force a section to begin at its image, more to let it lie further on."
        )
    if len(overrides) > num_sections:
        raise ConfigError(
            f"latent_paddings: {len(overrides)} values for {num_sections} sections. Give at most"
            f" {num_sections}, the first for the last section in time, which is made first."
        )
    falling = [*range(num_sections)][::-1]
    usual = [3, *[2] * (num_sections - 3), 1, 0] if num_sections > 4 else falling
    return (*overrides, *usual[len(overrides) :])


def section_layouts(
    timeline: Timeline,
    direction: Direction,
    *,
    paddings: Sequence[int] = (),
    context: ContextSizes = CONTEXT,
) -> tuple[SectionLayout, ...]:
    """The layouts of all sections, in the order they are made.

    backward (FramePack): a section sees the start and what comes after it. forward (F1): the start and what
    came before it. Of a clip that is encoded whole, `Timeline(num_sections=...)` are the training items: the
    start is its first latent. `paddings` override the usual ones and are for backward alone.
    """
    order = section_order(direction, timeline.num_sections)
    if direction == "forward":
        if paddings:
            raise ValueError("paddings: have no meaning for sections made forward.")
        return tuple(_forward_layout(timeline, section, context) for section in order)
    believed = section_paddings(timeline.num_sections, paddings)
    return tuple(
        _backward_layout(timeline, section, padding, context)
        for section, padding in zip(order, believed, strict=True)
    )


def one_frame_layout(
    options: OneFrameOptions, num_controls: int, *, window: int = 9, context: ContextSizes = CONTEXT
) -> SectionLayout:
    """Single frames at chosen times, seeing control images at chosen times (specs: FramePack 9).

    The rest of the context is zeros, which the network attends to unless an option leaves them out. Raises
    ConfigError for more control indices than control images.
    """
    targets = options.target_index or (window,)
    given = options.control_index
    num_shown = max(num_controls, 1)  # without a control image one of zeros stands in
    if len(given) > num_shown:
        raise ConfigError(
            f"one_frame: control_index has {len(given)} numbers for {num_controls} control images."
            " Give one for each image."
        )
    indices = [*given, *[0] * (num_shown - len(given))]
    sources = [Source("control", k) for k in range(num_controls)] or [ZERO]
    post = window + 1
    if not options.no_post:
        indices, sources = [*indices, post], [*sources, ZERO]
    return SectionLayout(
        section=0,
        positions=range(len(targets)),
        indices=targets,
        clean_1x=Slots(indices=tuple(indices), sources=tuple(sources)),
        clean_2x=None if options.no_2x else _zeros(post + 1, context.x2),
        clean_4x=None if options.no_4x else _zeros(post + 1 + context.x2, context.x4),
    )


def decode_windows(
    num_latents: int,
    direction: Direction,
    *,
    window: int = 9,
    cut: Literal["official", "aligned", "fewest"] = "official",
) -> tuple[Window, ...]:
    """Where latents are cut to decode a video of any length in bounded memory, in time order.

    Neighbors share `window` latents, whose frames are faded over (`fade_frames`). aligned: two windows long,
    counted from the second latent. official: the same for backward; for forward what was newest each time a
    section had been added, two windows long and counted from the end (specs: FramePack 2.6). fewest: aligned,
    without the last where the one before it has all its latents.
    """
    if cut == "official" and direction == "forward":
        first_stop = min(num_latents, window + 1 + (num_latents - 1) % window)
        later = range(first_stop + window, num_latents + 1, window)
        return ((0, first_stop), *((stop - 2 * window, stop) for stop in later))
    first_stop = min(num_latents, 2 * window + 1)
    later = range(window + 1, num_latents - window + 1, window)
    windows = ((0, first_stop), *((start, min(start + 2 * window, num_latents)) for start in later))
    is_covered = len(windows) > 1 and windows[-2][1] == num_latents
    return windows[:-1] if cut == "fewest" and is_covered else windows


def fade_frames(window: int = 9) -> int:
    """Frames over which the videos of neighboring decode windows are faded into each other."""
    return frames_of_latents(window)


def _backward_layout(timeline: Timeline, section: int, padding: int, context: ContextSizes) -> SectionLayout:
    """Time indices: start, blank sections, target, then what comes after, nearest first."""
    first, after = 1 + padding * timeline.window, timeline.target(section).stop
    nearest = [(first + timeline.window + k, after + k) for k in range(sum(context))]
    return _layout(timeline, section, first, nearest, context)


def _forward_layout(timeline: Timeline, section: int, context: ContextSizes) -> SectionLayout:
    """Time indices: start, what came before, nearest last, then the target."""
    length, before = sum(context), timeline.target(section).start
    nearest = [(length - k, before - 1 - k) for k in range(length)]
    return _layout(timeline, section, length + 1, nearest, context)


def _layout(
    timeline: Timeline,
    section: int,
    first: int,
    nearest: Sequence[tuple[int, int]],
    context: ContextSizes,
) -> SectionLayout:
    """first: time index of the target. nearest: time index and place of context, nearest in time first."""
    seen = [(index, timeline.source(position)) for index, position in nearest]
    near, far = context.x1, context.x1 + context.x2
    return SectionLayout(
        section=section,
        positions=timeline.target(section),
        indices=tuple(range(first, first + timeline.window)),
        clean_1x=_slots([(0, START), *seen[:near]]),
        clean_2x=_slots(seen[near:far]) if context.x2 else None,
        clean_4x=_slots(seen[far:]) if context.x4 else None,
    )


def _slots(seen: Iterable[tuple[int, Source]]) -> Slots:
    """A group of clean latents, in the order of their time indices."""
    indices, sources = zip(*sorted(seen), strict=True)
    return Slots(indices=indices, sources=sources)


def _zeros(first: int, count: int) -> Slots:
    return Slots(indices=tuple(range(first, first + count)), sources=(ZERO,) * count)
