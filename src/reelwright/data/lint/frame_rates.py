"""Clips at another rate than the model's, and clips without a steady one."""

from collections.abc import Iterator

from reelwright.data.lint.findings import Finding, Subject

_TELLABLE = 0.01
"""Share by which rates differ that count as two: 29.97 and 30 are one."""
_UNSTEADY = 0.1
"""Share of the mean interval."""
_TICK = 2.1e-3
"""Seconds by which intervals differ where containers round times to milliseconds."""


def is_unsteady(subject: Subject) -> bool:
    """Whether frames follow each other at a variable rate, and that counts."""
    look = subject.look
    if subject.dataset.source_fps is not None or subject.facts.fps <= 0:
        return False
    spread = look.longest_interval - look.shortest_interval
    return spread > max(_UNSTEADY / subject.facts.fps, _TICK)


def find_rate_faults(subject: Subject) -> Iterator[Finding]:
    given, wanted = subject.dataset.source_fps or subject.facts.fps, subject.fps
    if not subject.is_clip or given <= 0:
        return
    if is_unsteady(subject):
        look = subject.look
        message = (
            f"its frame rate varies: {look.shortest_interval * 1000:.0f} to"
            f" {look.longest_interval * 1000:.0f} ms from frame to frame. It is resampled to {wanted:g} fps."
        )
        yield Finding(kind="fps", severity="note", message=message)
    elif given < wanted * (1 - _TELLABLE):
        message = (
            f"has {given:.5g} fps and is trained on at {wanted:g}: frames are shown twice and motion"
            " stutters. Take a clip of a higher rate."
        )
        yield Finding(kind="fps", severity="warning", message=message)
    elif given > wanted * (1 + _TELLABLE):
        message = f"has {given:.5g} fps and is resampled to {wanted:g}."
        yield Finding(kind="fps", severity="note", message=message)
