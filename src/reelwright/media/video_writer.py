"""Frames into an mp4 that plays everywhere, is the same bytes each time, and carries its own recipe."""

import math
from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
from av.bitstream import BitStreamFilterContext
from av.container import OutputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, VideoReformatter
from av.video.stream import VideoStream
from torch import Tensor

from reelwright.core.paths import atomic_path, cannot_write
from reelwright.media.files import check_texts
from reelwright.media.frame_chunks import Pixels, each_frame
from reelwright.media.frame_pixels import EXACT

# x264 divides its work by thread count, and the bytes depend on it: so never by the number of cores.
_NUM_ENCODER_THREADS = 4
_MUXER_OPTIONS = {"movflags": "+faststart+use_metadata_tags", "fflags": "+bitexact"}
# x264 weighs blocks by their use in later frames ("mbtree") with AVX-512 code that reads past the end of rows
# whose macroblocks are no multiple of 8: the same frames gave other bytes at, say, 720x480.
_ENCODER_OPTIONS = {"preset": "medium", "mbtree": "0"}
# The encoder signs its work in a message of type 6, with its version and all its settings.
_WITHOUT_SIGNATURE = "filter_units=remove_types=6"
# Broadcast rates are fractions over 1001, such as 30000/1001.
_LARGEST_RATE_DENOMINATOR = 1001


def write_mp4(
    path: Path,
    frames: Iterable[Tensor],
    *,
    fps: float,
    crf: int = 17,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write chunks of frames, uint8 chunk_FHWC, as H.264 (yuv420p, BT.709) in mp4; memory does not grow.

    The same frames, settings and metadata give the same bytes, on any number of cores. `metadata` is any text
    by key. The file appears only when whole: nothing is left if `frames` raises. Width and height are even.
    Raises ValueError for frames or settings that cannot be written, FileError where the disk refuses.
    """
    for _ in stream_to_mp4(path, frames, fps=fps, crf=crf, metadata=metadata):
        pass


def stream_to_mp4(
    path: Path,
    frames: Iterable[Tensor],
    *,
    fps: float,
    crf: int = 17,
    metadata: Mapping[str, str] | None = None,
) -> Iterator[int]:
    """As write_mp4, yielding how many frames are written; nothing is left if it is closed before its end."""
    if not (math.isfinite(fps) and fps > 0):
        raise ValueError(f"fps must be a number above 0, got {fps}")
    check_texts(metadata or {})
    pictures = each_frame(frames)
    first = next(pictures, None)
    if first is None:
        raise ValueError("frames: there are none to write")
    with atomic_path(path) as temporary:
        try:
            with av.open(str(temporary), "w", format="mp4", options=_MUXER_OPTIONS) as container:
                container.metadata.update(metadata or {})
                encoder = _Encoder(container, first, fps=fps, crf=crf)
                for num_frames, picture in enumerate(chain([first], pictures), start=1):
                    encoder.write(picture)
                    yield num_frames
                encoder.finish()
        except FFmpegError as error:
            raise cannot_write(path, OSError(error.errno or 0, error.strerror or str(error))) from error


class _Encoder:
    """One H.264 stream of a container, fed picture by picture."""

    def __init__(self, container: OutputContainer, first: Pixels, *, fps: float, crf: int) -> None:
        height, width = first.shape[:2]
        if height % 2 or width % 2:
            raise ValueError(f"frames are {width}x{height}: H.264 needs an even width and height")
        rate = Fraction(fps).limit_denominator(_LARGEST_RATE_DENOMINATOR)
        self._container = container
        self._stream = _add_h264_stream(container, width, height, rate=rate, crf=crf)
        self._stream.codec_context.open()
        self._unsigned = BitStreamFilterContext(_WITHOUT_SIGNATURE, self._stream)
        self._converter = VideoReformatter()
        self._seconds_per_frame = 1 / rate
        self._num_frames = 0

    def write(self, pixels: Pixels) -> None:
        frame = self._converter.reformat(
            VideoFrame.from_ndarray(pixels, format="rgb24"),
            format="yuv420p",
            interpolation=EXACT,
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
            threads=1,
        )
        frame.pts, frame.time_base = self._num_frames, self._seconds_per_frame
        self._num_frames += 1
        self._mux(self._stream.encode(frame))

    def finish(self) -> None:
        """Write what the encoder still holds back."""
        self._mux(self._stream.encode())

    def _mux(self, packets: "Iterable[Packet[VideoStream]]") -> None:
        for packet in packets:
            for unsigned in self._unsigned.filter(packet):
                unsigned.stream = self._stream
                self._container.mux(unsigned)


def _add_h264_stream(
    container: OutputContainer, width: int, height: int, *, rate: Fraction, crf: int
) -> VideoStream:
    stream = container.add_stream("libx264", rate=rate, options={"crf": str(crf), **_ENCODER_OPTIONS})
    stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
    stream.color_primaries, stream.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
    stream.colorspace, stream.color_range = Colorspace.ITU709, ColorRange.MPEG
    stream.thread_count = _NUM_ENCODER_THREADS
    return stream
