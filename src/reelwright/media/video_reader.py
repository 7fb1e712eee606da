"""Clips into frames, by their timestamps, as a player would show them."""

import math
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import numpy as np
import torch
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
from torch import Tensor

from reelwright.media.frame_chunks import Pixels
from reelwright.media.frame_pixels import rotation_degrees, upright_pixels, upright_size
from reelwright.media.geometry import Size
from reelwright.media.video_container import (
    Span,
    decoded_frames,
    frame_interval,
    frame_spans,
    opened_video,
)

_CONTAINER_FACTS = {"major_brand", "minor_version", "compatible_brands"}
# Containers round timestamps, Matroska to whole milliseconds: a frame may seem to start half of one late.
_TIME_TOLERANCE = 0.6e-3


@dataclass(frozen=True, kw_only=True)
class VideoInfo:
    """What a clip is, as shown: width and height after rotation and with square pixels.

    `fps` is the mean rate; `duration` is in seconds; `rotation` is how far the stored frames are turned
    counterclockwise to be shown (0, 90, 180, 270).
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
    with opened_video(path) as (container, stream):
        spans = frame_spans(path, container, stream)
        seconds = _total_seconds(spans, frame_interval(stream))
    with closing(_shown_frames(path)) as shown:
        first = next(shown)
    return VideoInfo(
        path=path,
        width=first.size[0],
        height=first.size[1],
        fps=len(spans) / seconds,
        num_frames=len(spans),
        duration=seconds,
        rotation=rotation_degrees(first.frame),
    )


def read_video(
    path: Path, *, fps: float | None = None, max_frames: int | None = None, size: Size | None = None
) -> Tensor:
    """All frames of a clip as one uint8 tensor video_FHWC; arguments and errors as for `stream_video`.

    Memory is that of the frames returned and little more: each is converted as it is decoded.
    """
    with closing(_pixels(path, fps, max_frames, size)) as frames:
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
    path: Path, *, fps: float | None = None, max_frames: int | None = None, size: Size | None = None
) -> Iterator[Tensor]:
    """The frames of a clip one by one, uint8 frame_HWC: upright, square pixels, alpha over white.

    fps: None gives the clip's own frames; a rate gives the frame on screen at 0, 1/fps, 2/fps, ... seconds.
    max_frames: stop decoding after so many. size: (width, height) to resize to while reading.
    Raises FileError for what is missing, empty, not a video, damaged or cut short; the message says how many
    frames could be read.
    """
    for frame_HWC in _pixels(path, fps, max_frames, size):
        yield torch.from_numpy(frame_HWC)


def read_mp4_metadata(path: Path) -> dict[str, str]:
    """The texts stored in a clip, by key, without those that only describe the container."""
    with opened_video(path) as (container, _):
        return {key: text for key, text in container.metadata.items() if key not in _CONTAINER_FACTS}


@dataclass(frozen=True, kw_only=True)
class _Shown:
    """A frame, when it appears and when it would vanish, in seconds from the first; and its size upright."""

    frame: VideoFrame
    start: float
    end: float
    size: Size


def _pixels(path: Path, fps: float | None, max_frames: int | None, size: Size | None) -> Generator[Pixels]:
    if fps is not None and not (math.isfinite(fps) and fps > 0):
        raise ValueError(f"fps must be a number above 0, got {fps}")
    if max_frames is not None and max_frames < 1:
        raise ValueError(f"max_frames must be at least 1, got {max_frames}")
    with closing(_shown_frames(path)) as shown:
        converter = VideoReformatter()
        picked = shown if fps is None else _on_screen(shown, fps)
        for each in islice(picked, max_frames):
            yield upright_pixels(each.frame, size or each.size, converter)


def _on_screen(shown: Iterable[_Shown], fps: float) -> Iterator[_Shown]:
    """What is on screen at 0, 1/fps, 2/fps, ... until the last frame vanishes."""
    index = 0
    current: _Shown | None = None
    for upcoming in shown:
        while current is not None and index / fps + _TIME_TOLERANCE < upcoming.start:
            yield current
            index += 1
        current = upcoming
    while current is not None and (index == 0 or index / fps + _TIME_TOLERANCE < current.end):
        yield current
        index += 1


def _shown_frames(path: Path) -> Generator[_Shown]:
    """Every frame of the clip in order of presentation; all with the upright size of the first."""
    with opened_video(path) as (container, stream):
        tick, interval = float(stream.time_base or 0), frame_interval(stream)
        size: Size | None = None
        origin: float | None = None
        end = 0.0
        for frame in decoded_frames(path, container, stream):
            size = size or upright_size(_square_pixel_size(frame, stream), frame)
            # AVI stores only the order of decoding; the decoder carries that over to the order of showing.
            stamp = frame.dts if container.format.name == "avi" else frame.pts
            # Raw streams have no timestamps: each frame follows the one before.
            moment = None if stamp is None else stamp * tick
            if origin is None and moment is not None:
                origin = moment
            start = end if moment is None or origin is None else max(moment - origin, 0.0)
            end = start + (frame.duration * tick or interval)
            yield _Shown(frame=frame, start=start, end=end, size=size)


def _total_seconds(spans: Sequence[Span | None], interval: float) -> float:
    """From when the first frame appears until the last one vanishes."""
    timed = [span for span in spans if span is not None]
    if not timed:
        return len(spans) * interval
    return max(end for _, end in timed) - min(start for start, _ in timed)


def _square_pixel_size(frame: VideoFrame, stream: VideoStream) -> Size:
    """The stored size with the width stretched where pixels are not square (old camcorders, DVDs)."""
    return max(round(frame.width * (stream.sample_aspect_ratio or 1)), 1), frame.height
