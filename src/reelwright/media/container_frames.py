"""The frames of a video file with their times, from the middle on without decoding all before."""

from collections.abc import Generator, Iterator
from contextlib import closing
from functools import partial
from itertools import chain
from pathlib import Path

from av.container import InputContainer
from av.error import FFmpegError
from av.video.frame import PictureType, VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from reelwright.core.errors import FileError
from reelwright.media.frame_chunks import Pixels
from reelwright.media.frame_pixels import upright_pixels, upright_size
from reelwright.media.geometry import Size
from reelwright.media.shown_frames import ShownFrame
from reelwright.media.video_container import decoded_frames, frame_interval, opened_video

# Others keep no exact index: MPEG streams guess positions, AVI knows only the order of decoding.
_CONTAINERS_THAT_SEEK = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")
# An index may go by the times of decoding: the keyframe that it gives may be shown after the moment asked
# for.
_SECONDS_BEFORE = (0.0, 1.0, 8.0)


def container_frames(path: Path, start: float = 0.0) -> Generator[ShownFrame]:
    """The frames in order of presentation, all with the upright size of the first.

    start: those that vanish before so many seconds from the first frame may be left out. The others are the
    same to the bit: where a jump into the middle cannot promise that, the file is decoded from its beginning.
    Raises FileError as `decoded_frames`.
    """
    if start > 0:
        with opened_video(path) as (container, stream):
            timeline = _Timeline(container, stream)
            sought = _sought(path, container, stream, timeline, start)
            if sought is not None:
                yield from _placed(path, timeline, sought)
                return
    with opened_video(path) as (container, stream):
        yield from map(_Timeline(container, stream).place, decoded_frames(path, container, stream))


def shown_size(frame: VideoFrame, stream: VideoStream) -> Size:
    """Width and height upright, the width stretched where pixels are not square (old camcorders, DVDs)."""
    width = max(round(frame.width * (stream.sample_aspect_ratio or 1)), 1)
    return upright_size((width, frame.height), frame)


class _Timeline:
    """When each frame of a file appears, told frame by frame."""

    def __init__(self, container: InputContainer, stream: VideoStream) -> None:
        self.tick = float(stream.time_base or 0)
        self.origin: float | None = None
        self._interval = frame_interval(stream)
        self._stream = stream
        # AVI stores only the order of decoding; the decoder carries that over to the order of showing.
        self._by_decoding = container.format.name == "avi"
        self._size: Size | None = None
        self.end = 0.0
        # One for each size: a converter makes its tables anew for another one, which takes seconds for HDR.
        self._converters: dict[Size, VideoReformatter] = {}

    def place(self, frame: VideoFrame) -> ShownFrame:
        self._size = self._size or shown_size(frame, self._stream)
        stamp = frame.dts if self._by_decoding else frame.pts
        # Raw streams have no timestamps: each frame follows the one before.
        moment = None if stamp is None else stamp * self.tick
        if self.origin is None and moment is not None:
            self.origin = moment
        start = self.end if moment is None or self.origin is None else max(moment - self.origin, 0.0)
        self.end = start + (frame.duration * self.tick or self._interval)
        return ShownFrame(start=start, end=self.end, size=self._size, pixels=partial(self._pixels, frame))

    def _pixels(self, frame: VideoFrame, size: Size) -> Pixels:
        return upright_pixels(frame, size, self._converters.setdefault(size, VideoReformatter()))


def _sought(
    path: Path, container: InputContainer, stream: VideoStream, timeline: _Timeline, start: float
) -> Iterator[VideoFrame] | None:
    """Frames from a keyframe on that is shown at `start` or before; None where that may give other pixels."""
    with closing(decoded_frames(path, container, stream)) as frames:
        timeline.place(next(frames))
    if container.format.name not in _CONTAINERS_THAT_SEEK or timeline.origin is None:
        return None
    moment = timeline.origin + start
    for earlier in _SECONDS_BEFORE:
        if moment - earlier < timeline.origin:
            return None
        try:
            container.seek(int((moment - earlier) / timeline.tick), stream=stream)
            frames = decoded_frames(path, container, stream)
            keyframe = next((frame for frame in frames if _is_entry(frame)), None)
        except (FFmpegError, FileError):
            return None
        if keyframe is not None and keyframe.pts is not None and keyframe.pts * timeline.tick <= moment:
            return chain([keyframe], frames)
    return None


def _placed(path: Path, timeline: _Timeline, sought: Iterator[VideoFrame]) -> Iterator[ShownFrame]:
    """The frames with their times. Where they break off is told by time: none was counted before the jump."""
    try:
        yield from map(timeline.place, sought)
    except FileError as error:
        raise FileError(
            f"{path}: is damaged or cut short {timeline.end:.2f} s after its first frame."
            " Download or export it again, or read fewer frames."
        ) from error


def _is_entry(frame: VideoFrame) -> bool:
    """Whether frames shown from this one on need none before it.

    Frames that come before it but were encoded after it (open GOP) do. Where pictures are refreshed piece by
    piece, what is marked as a keyframe is no I-frame.
    """
    return frame.key_frame and frame.pict_type == PictureType.I
