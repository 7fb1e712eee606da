"""Frames in which there is nothing to see: one color, black or white."""

from collections.abc import Iterator

import numpy as np

from reelwright.data.lint.block_means import Means
from reelwright.data.lint.findings import Finding, Subject

_CONTRAST = 8.0
"""Levels of 255 between the means of the brightest and the darkest block, below which a frame is blank."""
_TOLERATED = 0.25
"""Share of the duration; fades take less."""


def is_blank(means: Means) -> bool:
    return float(np.ptp(means, axis=(0, 1)).max()) < _CONTRAST


def find_blankness(subject: Subject) -> Iterator[Finding]:
    look = subject.look
    share = look.blank / look.duration if look.duration else float(look.blank > 0)
    if share >= 1.0 - 1e-6:
        yield Finding(kind="blank", severity="warning", message="is nothing but one color.")
    elif share > _TOLERATED:
        message = f"{look.blank:.1f} s of {look.duration:.1f} s are nothing but one color."
        yield Finding(kind="blank", severity="warning", message=message)
