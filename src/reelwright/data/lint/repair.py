"""What is left of a clip when bars, cuts and still ends are taken away: decided here, written elsewhere."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

from reelwright.core.errors import FileError
from reelwright.data.clips import cut_clips
from reelwright.data.lint.findings import Subject
from reelwright.data.lint.frame_rates import is_unsteady
from reelwright.data.lint.look import Span
from reelwright.data.lint.stillness import is_near_static, moving_span
from reelwright.media.geometry import Box

_MOSTLY = 0.5
"""Share of the duration."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """A stretch of a clip that is worth training on. Times are those of the look."""

    start: float
    num_frames: int
    box: Box | None
    """What is cut out of each frame."""
    read_fps: float | None
    """The rate it is read at; None takes the frames as they are."""
    write_fps: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Repair:
    """What becomes of an item: pieces of it, a copy as it is (no pieces), or nothing, with the reason."""

    pieces: tuple[Piece, ...] = ()
    reason: str = ""
    """Why it is left out."""


def plan_repair(subject: Subject) -> Repair:
    """Of an item without errors."""
    if not subject.is_clip:
        return Repair(pieces=_picture(subject))
    if subject.look.blank > _MOSTLY * subject.look.duration:
        return Repair(reason="there is mostly nothing to see in it.")
    if is_near_static(subject.look):
        return Repair(reason="hardly anything moves in it.")
    spans = [span for span in _scenes(subject) if _is_long_enough(subject, span)]
    if not spans:
        return Repair(reason="no stretch of it is long enough to train on.")
    if spans == [(0.0, subject.look.duration)] and _crop(subject) is None:
        return Repair()
    return Repair(pieces=tuple(_piece(subject, span) for span in spans))


def untrimmed(subject: Subject) -> Subject:
    """The same item where nothing is left to trim: of a mended data set, whose files are trimmed already."""
    return replace(subject, dataset=replace(subject.dataset, trim_seconds=0.0))


def _picture(subject: Subject) -> tuple[Piece, ...]:
    box = _crop(subject)
    if box is None:
        return ()
    return (Piece(start=0.0, num_frames=1, box=box, read_fps=None, write_fps=0.0),)


def _crop(subject: Subject) -> Box | None:
    """What lies between the bars; nothing is cut where control pictures have to match."""
    return None if subject.source.controls else subject.look.content_box


def _scenes(subject: Subject) -> Iterator[Span]:
    """From cut to cut, without what is trimmed at the ends and without still beginnings and ends."""
    look, trimmed = subject.look, subject.dataset.trim_seconds
    inner = [cut for cut in look.cuts if trimmed < cut < look.duration - trimmed]
    for start, end in pairwise([trimmed, *inner, look.duration - trimmed]):
        yield moving_span(look, (start, end))


def _is_long_enough(subject: Subject, span: Span) -> bool:
    shown = span[1] - span[0]
    if shown <= 0:
        return False
    facts = replace(
        subject.facts,
        num_frames=max(_num_frames(subject, span), 1),
        duration=shown if subject.facts.duration else 0.0,
    )
    try:
        return bool(cut_clips(subject.source, facts, untrimmed(subject).dataset, subject.rule))
    except FileError:
        return False


def _piece(subject: Subject, span: Span) -> Piece:
    rate = subject.dataset.source_fps or subject.facts.fps or subject.fps
    return Piece(
        start=span[0],
        num_frames=_num_frames(subject, span),
        box=_crop(subject),
        read_fps=subject.facts.fps if is_unsteady(subject) else None,
        write_fps=rate,
    )


def _num_frames(subject: Subject, span: Span) -> int:
    """Frames of a stretch; they follow each other evenly, or are made to."""
    look = subject.look
    return round((span[1] - span[0]) * look.num_frames / look.duration)
