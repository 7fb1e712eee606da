"""Mended copies of pictures and clips; originals are only read."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from torch import Tensor

from reelwright.core.errors import FileError
from reelwright.core.paths import atomic_path, sha256_of
from reelwright.data.lint.repair import Piece
from reelwright.data.local_media import local_media
from reelwright.media.geometry import Box, Size
from reelwright.media.image_ops import open_image, write_png
from reelwright.media.video_reader import read_mp4_metadata, stream_video
from reelwright.media.video_writer import write_mp4

_CRF = 12
"""So that the second encoding is not seen."""
_MARK = "reelwright_mended"


def write_copy(media: str, content: str, path: Path) -> None:
    """The file as it is, unless it is there already; `content` is its SHA-256. A folder is copied whole."""
    with local_media(media) as original:
        if original.is_dir():
            _copy_folder(original, path)
        elif not (path.is_file() and sha256_of(path) == content):
            with atomic_path(path) as temporary:
                shutil.copyfile(original, temporary)


def write_picture(media: str, piece: Piece, path: Path) -> None:
    """A picture without its bars, as PNG."""
    with local_media(media) as original:
        picture = open_image(original).rgb
    write_png(path, picture.crop(piece.box) if piece.box else picture)


def write_clip(media: str, content: str, size: Size, piece: Piece, path: Path) -> None:
    """A piece of a clip as mp4, at the clip's own rate; what a stopped run wrote is kept.

    H.264 needs even sizes: a last row or column that is over is cut off.
    """
    mark = json.dumps({"content": content, **asdict(piece)}, sort_keys=True)
    if _mark_of(path) == mark:
        return
    with local_media(media) as original:
        write_mp4(path, _frames(original, size, piece), fps=piece.write_fps, crf=_CRF, metadata={_MARK: mark})


def _frames(original: Path, size: Size, piece: Piece) -> Iterator[Tensor]:
    left, top, right, bottom = _even(piece.box or (0, 0, *size))
    frames = stream_video(
        original, fps=piece.read_fps, max_frames=piece.num_frames, start_seconds=piece.start
    )
    for frame_HWC in frames:
        yield frame_HWC[top:bottom, left:right].unsqueeze(0)


def _even(box: Box) -> Box:
    left, top, right, bottom = box
    return left, top, right - (right - left) % 2, bottom - (bottom - top) % 2


def _mark_of(path: Path) -> str | None:
    if not path.is_file():
        return None
    try:
        return read_mp4_metadata(path).get(_MARK)
    except FileError:
        return None


def _copy_folder(original: Path, path: Path) -> None:
    for each in sorted(original.iterdir()):
        if each.is_file():
            write_copy(str(each), sha256_of(each), path / each.name)
