"""Clips of one make put one after another without decoding them."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
from av.container import OutputContainer
from av.error import FFmpegError

from reelwright.core.paths import atomic_path, cannot_write

_MUXER_OPTIONS = {"movflags": "+faststart", "fflags": "+bitexact"}


def join_mp4(path: Path, parts: Sequence[Path]) -> None:
    """Write the frames of all parts to one mp4. Parts are those of `write_mp4`, equal in size and rate.

    Raises ValueError without parts, FileError where the disk refuses.
    """
    if not parts:
        raise ValueError("parts: there are none to join")
    with atomic_path(path) as temporary:
        try:
            with av.open(str(temporary), "w", format="mp4", options=_MUXER_OPTIONS) as container:
                _copy_all(container, parts)
        except FFmpegError as error:
            raise cannot_write(path, OSError(error.errno or 0, error.strerror or str(error))) from error


def _copy_all(container: OutputContainer, parts: Sequence[Path]) -> None:
    stream = None
    start = Fraction(0)
    for part in parts:
        with av.open(f"file:{part}") as source:
            video = source.streams.video[0]
            stream = stream or container.add_stream_from_template(video)
            end = start
            for packet in source.demux(video):
                if packet.dts is None or packet.pts is None:
                    continue  # the empty packet at the end
                offset = round(start / packet.time_base)
                packet.pts, packet.dts = packet.pts + offset, packet.dts + offset
                end = max(end, (packet.pts + (packet.duration or 0)) * packet.time_base)
                packet.stream = stream
                container.mux(packet)
            start = end
