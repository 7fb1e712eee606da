"""From a decoded frame, whatever its pixel format, to 8-bit RGB the way a player shows it."""

import struct
from typing import Any, cast

import numpy as np
from av import VideoFrame
from av.sidedata.sidedata import Type
from av.video.reformatter import ColorPrimaries, ColorRange, ColorTrc, Interpolation, VideoReformatter

from reelwright.media.frame_chunks import Pixels
from reelwright.media.geometry import Size

# Exact rounding and full-resolution chroma: the fast paths of swscale are off by up to two levels, and differ
# between processors.
EXACT = (
    Interpolation.LANCZOS
    | Interpolation.ACCURATE_RND
    | Interpolation.BITEXACT
    | Interpolation.FULL_CHR_H_INT
    | Interpolation.FULL_CHR_H_INP
)
_HIGH_DYNAMIC_RANGE = (ColorTrc.SMPTE2084, ColorTrc.ARIB_STD_B67)
_UPRIGHT = (1, 0, 0, 1)


def upright_pixels(frame: VideoFrame, size: Size, converter: VideoReformatter) -> Pixels:
    """The frame as frame_HWC uint8 RGB of `size`, turned as its display matrix says, alpha laid over white.

    Colors follow the frame's own tags; untagged ones are taken as BT.601 limited range, as FFmpeg does.
    HDR (PQ, HLG) is mapped to BT.709 with its reference white as white. One `converter` should serve a whole
    clip: it keeps the tables, which for HDR take seconds to make.
    """
    matrix = display_matrix(frame)
    stored_size = (size[1], size[0]) if _swaps_axes(matrix) else size
    has_alpha = any(component.is_alpha for component in frame.format.components)
    pixels = _converted(frame, stored_size, "rgba" if has_alpha else "rgb24", converter)
    if has_alpha:
        pixels = _over_white(pixels)
    return np.ascontiguousarray(_turned(pixels, matrix))


def upright_size(size: Size, frame: VideoFrame) -> Size:
    """`size` of the stored picture as it is after the frame's rotation."""
    return (size[1], size[0]) if _swaps_axes(display_matrix(frame)) else size


def display_matrix(frame: VideoFrame) -> tuple[int, int, int, int]:
    """The matrix (a, b, c, d) that takes stored (x, y) to shown (ax + cy, bx + dy), as signs.

    Turns by other than quarters, which no camera writes, are rounded to the nearest quarter.
    """
    side_data: Any = cast(Any, frame.side_data).get(Type.DISPLAYMATRIX)
    if side_data is None:
        return _UPRIGHT
    a, b, _, c, d = struct.unpack("=9i", bytes(side_data))[:5]
    if abs(a) >= abs(b):
        return int(np.sign(a)) or 1, 0, 0, int(np.sign(d)) or 1
    return 0, int(np.sign(b)), int(np.sign(c)) or 1, 0


def rotation_degrees(frame: VideoFrame) -> int:
    """How far the stored picture is turned counterclockwise to be shown: 0, 90, 180 or 270."""
    a, b, _, d = display_matrix(frame)
    if b:
        return 90 if b < 0 else 270
    return 180 if a < 0 and d < 0 else 0


def _swaps_axes(matrix: tuple[int, int, int, int]) -> bool:
    return matrix[0] == 0


def _turned(pixels: Pixels, matrix: tuple[int, int, int, int]) -> Pixels:
    a, b, c, d = matrix
    if _swaps_axes(matrix):
        pixels, flips_x, flips_y = pixels.transpose(1, 0, 2), c < 0, b < 0
    else:
        flips_x, flips_y = a < 0, d < 0
    return pixels[:: -1 if flips_y else 1, :: -1 if flips_x else 1]


def _converted(frame: VideoFrame, size: Size, pixel_format: str, converter: VideoReformatter) -> Pixels:
    is_hdr = frame.color_trc in _HIGH_DYNAMIC_RANGE
    converted = converter.reformat(
        frame,
        *size,
        format=pixel_format,
        interpolation=EXACT,
        dst_color_range=ColorRange.JPEG,
        dst_color_trc=ColorTrc.BT709 if is_hdr else None,
        dst_color_primaries=ColorPrimaries.BT709 if is_hdr else None,
        threads=1,
    )
    return cast(Pixels, converted.to_ndarray())


def _over_white(pixels_RGBA: Pixels) -> Pixels:
    color = pixels_RGBA[..., :3].astype(np.uint16)
    alpha = pixels_RGBA[..., 3:].astype(np.uint16)
    return ((color * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
