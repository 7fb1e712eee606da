"""Clips that are too short to train on, and what cannot be read to its end."""

from collections.abc import Iterator

from reelwright.data.clips import resampled_length
from reelwright.data.extraction import legal_lengths
from reelwright.data.lint.findings import Finding, Subject


def find_damage(subject: Subject) -> Iterator[Finding]:
    if subject.look.error:
        yield Finding(kind="unreadable", severity="error", message=subject.look.error)


def find_shortness(subject: Subject) -> Iterator[Finding]:
    if not subject.is_clip:
        return
    num_frames = resampled_length(subject.facts, subject.dataset, subject.rule)
    needed = _needed(subject)
    length = f"it has {num_frames} at {subject.fps:g} fps"
    if num_frames < needed:
        missing = f"{needed - num_frames} frames ({(needed - num_frames) / subject.fps:.2f} s)"
        message = f"is too short by {missing}: {length} and {needed} are needed."
        yield Finding(kind="short", severity="error", message=message)
    elif num_frames <= subject.rule.frame_step:
        message = f"is so short that only its first frame is trained on: {length}."
        yield Finding(kind="short", severity="warning", message=message)


def _needed(subject: Subject) -> int:
    """The fewest frames that a clip is cut from."""
    dataset, rule = subject.dataset, subject.rule
    if dataset.frame_extraction == "full" or not dataset.target_frames:
        return rule.min_frames
    return legal_lengths(dataset.target_frames, rule.frame_step)[0]
