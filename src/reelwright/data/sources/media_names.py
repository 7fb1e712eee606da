"""What files are by their names."""

from pathlib import PurePosixPath
from typing import Literal

from reelwright.core.locations import name_of

Kind = Literal["image", "video"]

IMAGE_EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".avif", ".jxl", ".gif")
VIDEO_EXTENSIONS = (".mp4", ".webm", ".avi", ".mkv", ".mov", ".flv", ".wmv", ".m4v", ".mpg", ".mpeg")
NAMES_OF_KINDS = {"image": "pictures", "video": "clips"}
"""What people call them."""


def kind_of(location: str) -> Kind | None:
    """Whether a file is a picture or a clip; None for others and hidden ones (._a.mp4 of macOS)."""
    name = name_of(location)
    suffix = PurePosixPath(name).suffix.lower()
    if name.startswith("."):
        return None
    if suffix in IMAGE_EXTENSIONS:
        return "image"
    return "video" if suffix in VIDEO_EXTENSIONS else None


def stem_of(location: str) -> str:
    """The name of a file without its extension."""
    return PurePosixPath(name_of(location)).stem
