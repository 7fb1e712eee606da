"""Frames into a file from which they come back as they were, for programs that read files only."""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
from av.error import FFmpegError
from av.video.frame import VideoFrame
from torch import Tensor

from reelwright.core.paths import atomic_path, cannot_write
from reelwright.media.frame_chunks import each_frame

_OPTIONS = {"crf": "0", "preset": "veryfast"}
_LARGEST_DENOMINATOR = 1001


def write_lossless(path: Path, frames: Iterable[Tensor], *, fps: float) -> None:
    """Write chunks of frames, uint8 chunk_FHWC of any size, as RGB H.264 without loss, in mp4.

    The file appears only when whole. Raises FileError where the disk refuses.
    """
    rate = Fraction(fps).limit_denominator(_LARGEST_DENOMINATOR)
    with atomic_path(path) as temporary:
        try:
            with av.open(str(temporary), "w", format="mp4", options={"fflags": "+bitexact"}) as container:
                stream = container.add_stream("libx264rgb", rate=rate, options=_OPTIONS)
                stream.pix_fmt, stream.thread_count = "rgb24", 1
                for number, picture in enumerate(each_frame(frames)):
                    if number == 0:
                        stream.height, stream.width = picture.shape[:2]
                    frame = VideoFrame.from_ndarray(picture, format="rgb24")
                    frame.pts, frame.time_base = number, 1 / rate
                    container.mux(stream.encode(frame))
                container.mux(stream.encode())
        except FFmpegError as error:
            raise cannot_write(path, OSError(error.errno or 0, error.strerror or str(error))) from error
