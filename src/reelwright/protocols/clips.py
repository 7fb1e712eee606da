"""What data sets hold and what becomes of it: sources, what their files are, and the clips cut from them."""

from dataclasses import dataclass
from typing import Literal

from reelwright.media.geometry import Size


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """One picture or clip of a data set, with what is said of it; nothing of the media is read yet."""

    media: str
    """A path or URL; a folder is a clip as numbered pictures."""
    kind: Literal["image", "video"]
    stem: str
    """The name of its cache files: the file name without folder and extension."""
    caption: str | None
    """None where there is none."""
    caption_origin: str
    """Where the caption is, or should be, for messages: `a.txt`, `clips.jsonl line 12`."""
    controls: tuple[str, ...] = ()
    """Control pictures, in order; or one control clip."""
    score: float | None = None
    """How good it is, on whatever scale; None where nobody says."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MediaFacts:
    """What a picture or clip is, upright and with square pixels.

    A picture has one frame; it and a folder of pictures have no times: `fps` and `duration` are 0.
    """

    size: Size
    num_frames: int
    fps: float
    duration: float
    """Seconds from when the first frame appears until the last vanishes."""
    content: str
    """SHA-256 of the file, in hex; of a folder, that of its files."""


@dataclass(frozen=True, kw_only=True)
class ClipRule:
    """What a family can train on."""

    fps: float
    frame_step: int
    """Clips have this many times k and one more frames."""
    min_frames: int = 1
    size_step: int = 16
    default_size: Size
    """Width and height where a data set names none."""
    trained_sizes: tuple[Size, ...] = ()
    """Sizes that the released model was trained on, if there is such a list."""
    kinds: tuple[Literal["image", "video"], ...] = ("video",)
    """What may be in a data set."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Clip:
    """One stretch of a source as it will be trained on. A picture is a clip of one frame."""

    source: Source
    facts: MediaFacts
    start: int
    """Its first frame, counted at `fps` from the start of the source (after what was trimmed)."""
    num_frames: int
    size: Size
    """Width and height after the frames cover it and are cut to it."""
    fps: float
    """Frames per second it is read at; 0 for a picture."""
    source_fps: float | None = None
    """The rate that its frames follow each other at, where the file's own times are not to be trusted."""
    trim_seconds: float = 0.0
    """Left out before frame 0."""
    control_facts: tuple[MediaFacts, ...] = ()
    """What the controls of the source are, where they were looked at."""
