"""Clips into frames, by their timestamps, as a player would show them."""

import math
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from reelwright.media.container_frames import container_frames, shown_size
from reelwright.media.frame_chunks import Pixels
from reelwright.media.frame_pixels import rotation_degrees
from reelwright.media.geometry import Size
from reelwright.media.picture_frames import is_picture_clip, picture_frames
from reelwright.media.shown_frames import ShownFrame, at_rate, on_screen, shown_from
from reelwright.media.video_container import (
    Span,
    decoded_frames,
    frame_interval,
    frame_spans,
    opened_video,
)

_CONTAINER_FACTS = {"major_brand", "minor_version", "compatible_brands"}


@dataclass(frozen=True, kw_only=True)
class VideoInfo:
    """What a clip is, as shown: width and height after rotation and with square pixels.

    `fps` is the mean rate; `duration` is in seconds; both are 0 for a folder of pictures, which has no times.
    `rotation` is how far the stored frames are turned counterclockwise to be shown (0, 90, 180, 270).
    """

    path: Path
    width: int
    height: int
    fps: float
    num_frames: int
    duration: float
    rotation: int


def probe_video(path: Path) -> VideoInfo:
    """Size, rate and length of a clip, from its first frame and its packets; nothing else is decoded."""
    if is_picture_clip(path):
        return _probe_pictures(path)
    with opened_video(path) as (container, stream):
        spans = frame_spans(path, container, stream)
        seconds = _total_seconds(spans, frame_interval(stream))
    with (
        opened_video(path) as (container, stream),
        closing(decoded_frames(path, container, stream)) as frames,
    ):
        first = next(frames)
        width, height = shown_size(first, stream)
    return VideoInfo(
        path=path,
        width=width,
        height=height,
        fps=len(spans) / seconds,
        num_frames=len(spans),
        duration=seconds,
        rotation=rotation_degrees(first),
    )


def read_video(
    path: Path, *, fps: float | None = None, max_frames: int | None = None, size: Size | None = None
) -> Tensor:
    """All frames of a clip as one uint8 tensor video_FHWC; arguments and errors as for `stream_video`.

    Memory is that of the frames returned and little more: each is converted as it is decoded.
    """
    with closing(_pixels(path, _Choice(fps=fps, max_frames=max_frames, size=size))) as frames:
        first = next(frames)
        video = np.empty((16, *first.shape), np.uint8)
        num_frames = 0
        for frame_HWC in chain([first], frames):
            if num_frames == len(video):
                # The system moves pages here rather than copying, so that a long clip is never held twice.
                video.resize((num_frames + num_frames // 8 + 16, *first.shape), refcheck=False)
            video[num_frames] = frame_HWC
            num_frames += 1
    video.resize((num_frames, *first.shape), refcheck=False)
    return torch.from_numpy(video)


def stream_video(
    path: Path,
    *,
    fps: float | None = None,
    max_frames: int | None = None,
    size: Size | None = None,
    start_seconds: float = 0.0,
    source_fps: float | None = None,
) -> Iterator[Tensor]:
    """The frames of a clip one by one, uint8 frame_HWC: upright, square pixels, alpha over white.

    path: a video file, an animated picture, or a folder of numbered pictures, which follow each other at
    `source_fps`, or else at `fps`.
    fps: None gives the clip's own frames; a rate gives the frame on screen at 0, 1/fps, 2/fps, ... seconds.
    max_frames: stop decoding after so many. size: (width, height) to resize to while reading.
    start_seconds: all moments are so much later. source_fps: the clip's frames are taken to follow each other
    at this rate, whatever the file says.
    Raises FileError for what is missing, empty, not a video, damaged or cut short; the message says how many
    frames could be read.
    """
    choice = _Choice(
        fps=fps, max_frames=max_frames, size=size, start_seconds=start_seconds, source_fps=source_fps
    )
    for frame_HWC in _pixels(path, choice):
        yield torch.from_numpy(frame_HWC)


def read_mp4_metadata(path: Path) -> dict[str, str]:
    """The texts stored in a clip, by key, without those that only describe the container."""
    with opened_video(path) as (container, _):
        return {key: text for key, text in container.metadata.items() if key not in _CONTAINER_FACTS}


@dataclass(frozen=True, kw_only=True)
class _Choice:
    """Which frames of a clip are wanted, and how large."""

    fps: float | None
    max_frames: int | None
    size: Size | None
    start_seconds: float = 0.0
    source_fps: float | None = None

    def __post_init__(self) -> None:
        for name in ("fps", "source_fps"):
            rate: float | None = getattr(self, name)
            if rate is not None and not (math.isfinite(rate) and rate > 0):
                raise ValueError(f"{name} must be a number above 0, got {rate}")
        if self.max_frames is not None and self.max_frames < 1:
            raise ValueError(f"max_frames must be at least 1, got {self.max_frames}")
        if not (math.isfinite(self.start_seconds) and self.start_seconds >= 0):
            raise ValueError(f"start_seconds must be 0 or more, got {self.start_seconds}")


def _pixels(path: Path, choice: _Choice) -> Generator[Pixels]:
    last: ShownFrame | None = None
    pixels: Pixels | None = None
    with closing(_shown_frames(path, choice)) as shown:
        for each in islice(_picked(shown, choice), choice.max_frames):
            if pixels is not None and each is last:
                # A rate above the clip's own shows a frame again and again; it is converted once.
                yield pixels.copy()
                continue
            last, pixels = each, each.pixels(choice.size or each.size)
            yield pixels


def _shown_frames(path: Path, choice: _Choice) -> Generator[ShownFrame]:
    if not is_picture_clip(path):
        # Where frames are counted, none can be left out.
        yield from container_frames(path, 0.0 if choice.source_fps else choice.start_seconds)
    elif path.is_dir() and choice.fps and not choice.source_fps:
        yield from at_rate(picture_frames(path), choice.fps)
    else:
        yield from picture_frames(path)


def _picked(shown: Iterator[ShownFrame], choice: _Choice) -> Iterator[ShownFrame]:
    timed = at_rate(shown, choice.source_fps) if choice.source_fps else shown
    if choice.fps is None:
        return shown_from(timed, choice.start_seconds)
    return on_screen(timed, choice.fps, choice.start_seconds)


def _probe_pictures(path: Path) -> VideoInfo:
    num_frames, width, height, seconds = 0, 0, 0, 0.0
    for frame in picture_frames(path):
        num_frames += 1
        (width, height), seconds = frame.size, frame.end
    if path.is_dir():
        seconds = 0.0
    return VideoInfo(
        path=path,
        width=width,
        height=height,
        fps=num_frames / seconds if seconds else 0.0,
        num_frames=num_frames,
        duration=seconds,
        rotation=0,
    )


def _total_seconds(spans: Sequence[Span | None], interval: float) -> float:
    """From when the first frame appears until the last one vanishes."""
    timed = [span for span in spans if span is not None]
    if not timed:
        return len(spans) * interval
    return max(end for _, end in timed) - min(start for start, _ in timed)
