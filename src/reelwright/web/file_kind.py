"""What a file is, by its first bytes and never by its name; how large a picture its header declares."""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO, Literal

FileGroup = Literal["image", "video", "tensors"]

HEAD_BYTES = 32
"""So many bytes tell every kind."""

_MOST_SEGMENTS = 10_000
_STILL_BRANDS = (b"avif", b"avis", b"heic", b"heix", b"mif1", b"msf1")


@dataclass(frozen=True)
class FileKind:
    """One kind of file that may be sent."""

    group: FileGroup
    suffix: str
    media_type: str
    size: Callable[[BinaryIO], tuple[int, int] | None] | None = None
    """Reads the declared width and height of a picture; None where the file is broken."""


def kind_of(head: bytes) -> FileKind | None:
    """The kind of a file that begins with these bytes; None for one that has no use here."""
    if head[:4] == b"RIFF":
        return {b"WEBP": _WEBP, b"AVI ": _AVI}.get(head[8:12])
    if head[4:8] == b"ftyp":
        return None if head[8:12] in _STILL_BRANDS else _MP4
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 100_000_000:
        return _TENSORS
    return next((kind for magic, kind in _BY_MAGIC.items() if head.startswith(magic)), None)


def _png_size(file: BinaryIO) -> tuple[int, int] | None:
    head = file.read(24)
    return struct.unpack(">II", head[16:24]) if len(head) == 24 and head[12:16] == b"IHDR" else None


def _gif_size(file: BinaryIO) -> tuple[int, int] | None:
    head = file.read(10)
    return struct.unpack("<HH", head[6:10]) if len(head) == 10 else None


def _bmp_size(file: BinaryIO) -> tuple[int, int] | None:
    head = file.read(26)
    if len(head) < 26:
        return None
    width, height = struct.unpack("<ii", head[18:26])
    return abs(width), abs(height)


def _webp_size(file: BinaryIO) -> tuple[int, int] | None:
    """Of its three forms: extended, lossless, lossy."""
    head = file.read(30)
    if len(head) < 30:
        return None
    if head[12:16] == b"VP8X":
        return int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1
    if head[12:16] == b"VP8L":
        packed = int.from_bytes(head[21:25], "little")
        return (packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1
    width, height = struct.unpack("<HH", head[26:30])
    return width & 0x3FFF, height & 0x3FFF


def _jpeg_size(file: BinaryIO) -> tuple[int, int] | None:
    """Walk from segment to segment up to the frame header, over metadata of any length."""
    file.seek(2)
    for _ in range(_MOST_SEGMENTS):
        marker = file.read(2)
        if len(marker) < 2 or marker[0] != 0xFF:
            return None
        if marker[1] == 0xFF:  # a fill byte before a marker
            file.seek(-1, 1)
            continue
        length = int.from_bytes(file.read(2), "big")
        if 0xC0 <= marker[1] <= 0xCF and marker[1] not in (0xC4, 0xC8, 0xCC):
            frame = file.read(5)
            return (*struct.unpack(">HH", frame[1:5])[::-1],) if len(frame) == 5 else None  # pyright: ignore
        if length < 2:
            return None
        file.seek(length - 2, 1)
    return None


_WEBP = FileKind("image", ".webp", "image/webp", _webp_size)
_AVI = FileKind("video", ".avi", "video/x-msvideo")
_MP4 = FileKind("video", ".mp4", "video/mp4")
_TENSORS = FileKind("tensors", ".safetensors", "application/octet-stream")
_BY_MAGIC = {
    b"\x89PNG\r\n\x1a\n": FileKind("image", ".png", "image/png", _png_size),
    b"\xff\xd8\xff": FileKind("image", ".jpg", "image/jpeg", _jpeg_size),
    b"GIF8": FileKind("image", ".gif", "image/gif", _gif_size),
    b"BM": FileKind("image", ".bmp", "image/bmp", _bmp_size),
    b"\x1aE\xdf\xa3": FileKind("video", ".mkv", "video/x-matroska"),
}
