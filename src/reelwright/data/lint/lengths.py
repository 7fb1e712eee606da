"""Clips that are too short to train on, and what cannot be read to its end."""

from collections.abc import Iterator

from reelwright.data.clips import resampled_length
from reelwright.data.lint.findings import Finding, Subject


def find_damage(subject: Subject) -> Iterator[Finding]:
    if subject.look.error:
        yield Finding(kind="unreadable", severity="error", message=subject.look.error)


def find_shortness(subject: Subject) -> Iterator[Finding]:
    if not subject.is_clip:
        return
    rule, fps = subject.rule, subject.fps
    num_frames = resampled_length(subject.facts, subject.dataset, rule)
    missing = rule.min_frames - num_frames
    if missing > 0:
        message = (
            f"is too short by {missing} frames ({missing / fps:.2f} s): it has {num_frames} at {fps:g} fps"
            f" and {rule.min_frames} are needed."
        )
        yield Finding(kind="short", severity="error", message=message)
