"""Pictures that are a clip: a folder of numbered ones, or an animated WebP."""

import re
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from reelwright.core.errors import FileError
from reelwright.core.paths import cannot_read
from reelwright.media.frame_chunks import Pixels
from reelwright.media.geometry import Size
from reelwright.media.image_ops import DECODE_ERRORS, decoded_picture, fit_image, open_image, over_white
from reelwright.media.shown_frames import ShownFrame

PICTURE_SUFFIXES = frozenset((".png", ".jpg", ".jpeg", ".webp", ".bmp", ".avif", ".tif", ".tiff", ".ppm"))
"""Endings of the files that are taken for pictures, in small letters."""

_NOMINAL_RATE = 25.0
_SECONDS_WITHOUT_DURATION = 0.1


def is_picture_clip(path: Path) -> bool:
    """Whether a clip is made of pictures: a folder, or a file in WebP."""
    if path.is_dir():
        return True
    try:
        with path.open("rb") as file:
            head = file.read(12)
    except OSError:
        return False  # the reader of videos says why
    return head[:4] == b"RIFF" and head[8:] == b"WEBP"


def picture_frames(path: Path) -> Iterator[ShownFrame]:
    """The frames of such a clip. Pictures of a folder have no times; they are told as 25 a second.

    Raises FileError for a folder without pictures, pictures that differ in size, and what is damaged.
    """
    return _folder_frames(path) if path.is_dir() else _animation_frames(path)


def numbered_pictures(folder: Path) -> list[Path]:
    """The pictures of a folder by their numbers: 2 comes before 10. Raises FileError if there are none."""
    try:
        names = [each for each in folder.iterdir() if each.suffix.lower() in PICTURE_SUFFIXES]
    except OSError as error:
        raise cannot_read(folder, error) from error
    pictures = [each for each in names if not each.name.startswith(".")]
    if not pictures:
        raise FileError(f"{folder}: holds no pictures. Name a folder of PNG or JPEG files, or a clip.")
    return sorted(pictures, key=lambda each: (_by_numbers(each.name), each.name))


def _by_numbers(name: str) -> list[tuple[str, int]]:
    return [(text, int(digits or -1)) for text, digits in re.findall(r"(\D*)(\d*)", name)]


def _folder_frames(folder: Path) -> Generator[ShownFrame]:
    pictures = numbered_pictures(folder)
    size = open_image(pictures[0]).rgb.size
    for index, path in enumerate(pictures):
        start, end = index / _NOMINAL_RATE, (index + 1) / _NOMINAL_RATE
        yield ShownFrame(start=start, end=end, size=size, pixels=partial(_picture_pixels, path, size))


def _picture_pixels(path: Path, expected: Size, size: Size) -> Pixels:
    picture = open_image(path).rgb
    if picture.size != expected:
        raise FileError(
            f"{path}: is {picture.width} x {picture.height}, the first picture of the folder is"
            f" {expected[0]} x {expected[1]}. All pictures of a clip must have one size."
        )
    return np.array(fit_image(picture, *size, "stretch"))


def _animation_frames(path: Path) -> Generator[ShownFrame]:
    with decoded_picture(path) as picture:
        num_frames = getattr(picture, "n_frames", 1)
    if num_frames < 2:
        raise FileError(f"{path}: is a single picture, not a clip. Put it in a data set of images.")
    start = 0.0
    with _damage_told(path), Image.open(path) as picture:
        for index in range(num_frames):
            picture.seek(index)
            picture.load()
            end = start + (picture.info.get("duration", 0) / 1000 or _SECONDS_WITHOUT_DURATION)
            shown = over_white(picture)
            yield ShownFrame(start=start, end=end, size=shown.size, pixels=partial(_resized, shown))
            start = end


@contextmanager
def _damage_told(path: Path) -> Generator[None]:
    try:
        yield
    except DECODE_ERRORS as error:
        raise FileError(f"{path}: is damaged or cut short ({error}). Export or download it again.") from error


def _resized(picture: Image.Image, size: Size) -> Pixels:
    return np.array(fit_image(picture, *size, "stretch"))
