"""Clips made with PyAV directly, each frame's number drawn as its brightness, so that picks can be told."""

import math
from fractions import Fraction

import av
import numpy as np


def level(number):
    return 16 + 4 * number


def numbers_in(video_FHWC):
    """The frame numbers that the brightness of each frame tells."""
    return [round((float(frame[..., 1].float().mean()) - 16) / 4) for frame in video_FHWC]


def gray_pictures(count, width=32, height=16):
    return [np.full((height, width, 3), level(number), np.uint8) for number in range(count)]


def make_clip(
    path,
    pictures,
    *,
    fps=10,
    milliseconds=None,
    pixel_format="yuv444p",
    codec="libx264",
    options=None,
    **stream_facts,
):
    """Encode `pictures`; `milliseconds` gives each its own time instead of a constant rate."""
    container_options = {"movflags": "faststart"} if path.suffix in (".mp4", ".mov") else {}
    rotation = stream_facts.pop("rotation", None)
    with av.open(str(path), "w", options=container_options) as container:
        stream = container.add_stream(codec, rate=Fraction(fps), options=options or {})
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = pixel_format
        for name, value in stream_facts.items():
            setattr(stream.codec_context, name, value)
        if rotation is not None:
            stream.set_display_rotation(*rotation)
        if milliseconds is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for index, picture in enumerate(pictures):
            kind = "rgba" if picture.shape[-1] == 4 else "rgb24"
            frame = av.VideoFrame.from_ndarray(picture, format=kind)
            if milliseconds is not None:
                frame.pts, frame.time_base = milliseconds[index], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def on_screen(starts, end, fps):
    """The number of the frame a viewer sees at 0, 1/fps, ...: the last that has started."""
    ticks = [Fraction(k) / Fraction(fps) for k in range(math.ceil(Fraction(end) * Fraction(fps)))]
    return [max(n for n, start in enumerate(starts) if start <= tick) for tick in ticks]
