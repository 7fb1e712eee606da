"""What one pass over the frames of a clip tells, whatever the family or data set."""

from dataclasses import dataclass

from reelwright.media.geometry import Box, Size

LOOK_VERSION = 2
"""Rises when the same file would be seen differently."""
Span = tuple[float, float]
"""From a second to another."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """What was seen. Times are in seconds from the first frame, boxes in pixels of the shown frame."""

    size: Size
    num_frames: int
    duration: float
    content_box: Box | None = None
    """What is left without black bars; None where there are none."""
    cuts: tuple[float, ...] = ()
    """When a new scene begins."""
    stills: tuple[Span, ...] = ()
    """Stretches in which nothing moves, each a second or longer, or the whole of a shorter clip."""
    blank: float = 0.0
    """Seconds in which there is nothing to see but one color."""
    longest_interval: float = 0.0
    shortest_interval: float = 0.0
    """Seconds between two frames."""
    hashes: tuple[int, ...] = ()
    """Perceptual hashes of 64 bits of frames at fixed shares of the duration."""
    thumbnails: str = ""
    """The same frames at 8 x 8 pixels, in hex."""
    error: str = ""
    """Why not all frames could be read, without the file's name; nothing else is told then."""
