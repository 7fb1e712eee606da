"""A clip's file opened with suspicion: only real clips, only whole ones."""

import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from reelwright.core.errors import FileError
from reelwright.media.files import check_has_content

# FFmpeg also takes text, still pictures, playlists and scripts for video; none of these is a clip.
_CONTAINERS = (
    "mov,mp4,matroska,webm,avi,gif,apng,mpegts,mpeg,mpegvideo,flv,asf,ogg,mxf,nut,dv,wtv,ivf,m4v,h264,hevc,obu,"
    "mjpeg,yuv4mpegpipe"
)
_OPEN_OPTIONS = {"format_whitelist": _CONTAINERS, "protocol_whitelist": "file"}
_FALLBACK_RATE = Fraction(25)
# GIF ends the blocks of its last picture with a zero, and itself with a semicolon.
_END_MARKS = {"gif": b"\0;", "apng": b"IEND"}
# What other programs append is seldom longer.
_TAIL_BYTES = 64

Span = tuple[float, float]
"""When a frame appears and when it vanishes, in seconds."""


@contextmanager
def opened_video(path: Path) -> Generator[tuple[InputContainer, VideoStream]]:
    """The container and its first true video stream. Raises FileError if there is none."""
    check_has_content(path)
    try:
        # The prefix keeps a colon in a file name from being read as a protocol.
        container = av.open(f"file:{path}", options=_OPEN_OPTIONS, metadata_errors="replace")
    except (FFmpegError, ValueError) as error:
        raise FileError(
            f"{path}: cannot be opened as a video; it is damaged, incomplete or of another kind."
            " Use mp4, mov, mkv, webm, avi or gif, or export it again."
        ) from error
    with container:
        videos = [
            each for each in container.streams.video if Disposition.attached_pic not in each.disposition
        ]
        if not videos:
            raise FileError(f"{path}: has no video track, only sound or data. Choose a clip with pictures.")
        if not videos[0].codec_context:
            raise FileError(f"{path}: its video codec is unknown here. Convert it to H.264 in mp4.")
        videos[0].thread_type = "AUTO"
        yield container, videos[0]


def frame_interval(stream: VideoStream) -> float:
    """Seconds between frames, as far as the header tells; for where timestamps are missing."""
    return 1 / float(stream.guessed_rate or _FALLBACK_RATE)


def frame_spans(path: Path, container: InputContainer, stream: VideoStream) -> list[Span | None]:
    """When each frame starts and ends, from the packets alone; errors as for `decoded_frames`."""
    spans: list[Span | None] = []
    try:
        for packet in _packets(container, stream):
            if packet is not None and not packet.is_discard:
                spans.append(_span(packet, frame_interval(stream)))
    except (FFmpegError, _DamageError) as error:
        raise _damaged(path, len(spans)) from error
    if not spans:
        raise _no_frames(path)
    return spans


def decoded_frames(path: Path, container: InputContainer, stream: VideoStream) -> Generator[VideoFrame]:
    """The frames in order of presentation. Raises FileError if there are none, and where they break off."""
    num_frames = 0
    try:
        for packet in _packets(container, stream):
            for frame in stream.decode(packet):
                if frame.is_corrupt:
                    raise _DamageError
                yield frame
                num_frames += 1
    except (FFmpegError, _DamageError) as error:
        raise _damaged(path, num_frames) from error
    if num_frames == 0:
        raise _no_frames(path)


class _DamageError(Exception):
    """The file is not whole."""


def _packets(container: InputContainer, stream: VideoStream) -> "Iterator[Packet[VideoStream] | None]":
    """The packets of `stream` up to the first damaged one, then None, which flushes a decoder."""
    reached = 0.0
    # All streams, not only the video: how far any of them gets tells whether the file is whole.
    for packet in container.demux():
        if packet.is_corrupt:
            is_whole = False
            break
        span = _span(packet, default_seconds=0.0)
        reached = max(reached, span[1]) if span else reached
        if packet.stream_index == stream.index and packet.size:
            yield cast("Packet[VideoStream]", packet)
    else:
        is_whole = not _ends_early(container, stream, reached) and _has_end_mark(container)
    yield None
    if not is_whole:
        raise _DamageError


def _span(packet: "Packet[Any]", default_seconds: float) -> Span | None:
    moment = packet.dts if packet.pts is None else packet.pts
    if moment is None:
        return None
    start = float(moment * packet.time_base)
    return start, start + (float((packet.duration or 0) * packet.time_base) or default_seconds)


def _ends_early(container: InputContainer, stream: VideoStream, reached: float) -> bool:
    """Whether all streams stop clearly before the end that the header names; headers round."""
    declared = (container.duration or 0) / av.time_base
    return declared - reached > 2 * frame_interval(stream) + 0.02 * declared


def _has_end_mark(container: InputContainer) -> bool:
    """Whether an animated picture, which states no length, ends as its format demands."""
    mark = _END_MARKS.get(container.format.name)
    if mark is None:
        return True
    with Path(container.name.removeprefix("file:")).open("rb") as file:
        file.seek(max(file.seek(0, os.SEEK_END) - _TAIL_BYTES, 0))
        return mark in file.read()


def _damaged(path: Path, num_frames: int) -> FileError:
    return FileError(
        f"{path}: is damaged or cut short: only {num_frames} frames could be read."
        " Download or export it again, or read fewer frames."
    )


def _no_frames(path: Path) -> FileError:
    return FileError(f"{path}: its video track holds no frames. Export it again or choose another clip.")
