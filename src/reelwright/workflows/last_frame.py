"""Keep the last frame of a clip as a picture, for a clip that goes on from there."""

from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from reelwright.core.errors import FileError
from reelwright.core.events import Event, FileSaved
from reelwright.media.image_ops import write_png
from reelwright.media.video_reader import stream_video


def run(file: Path, picture: Path) -> Iterator[Event]:
    """Write the last frame of `file`, as it is shown, to `picture`, a PNG. Raises FileError."""
    last = None
    for last in stream_video(file):  # noqa: B007 - the last one is what counts
        pass
    if last is None:
        raise FileError(f"{file}: has no frames. Give another clip.")
    write_png(picture, Image.fromarray(last.numpy()))
    yield FileSaved("picture", str(picture))
