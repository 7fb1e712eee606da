"""Frames as a folder of PNG files, for those who edit or composite them."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from PIL import Image
from torch import Tensor

from reelwright.core.errors import FileError
from reelwright.core.paths import atomic_folder
from reelwright.media.frame_chunks import each_frame
from reelwright.media.image_ops import png_bytes


def write_png_sequence(
    folder: Path, frames: Iterable[Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write chunks of frames, uint8 chunk_FHWC, as frame_00000.png, ...; each carries `metadata`.

    The folder appears only when whole. One from an earlier run, with nothing but such frames, is replaced.
    Raises FileError where the disk refuses or `folder` holds other files, ValueError if there are no frames.
    """
    for _ in stream_to_png_sequence(folder, frames, metadata):
        pass


def stream_to_png_sequence(
    folder: Path, frames: Iterable[Tensor], metadata: Mapping[str, str] | None = None
) -> Iterator[int]:
    """As write_png_sequence, yielding how many frames are written so far."""
    _check_replaceable(folder)
    num_frames = 0
    with atomic_folder(folder) as building:
        for num_frames, frame_HWC in enumerate(each_frame(frames), start=1):
            content = png_bytes(Image.fromarray(frame_HWC), metadata or {})
            (building / f"frame_{num_frames - 1:05d}.png").write_bytes(content)
            yield num_frames
        if num_frames == 0:
            raise ValueError("frames: there are none to write")


def _check_replaceable(folder: Path) -> None:
    if folder.is_dir() and not all(each.match("frame_*.png") for each in folder.iterdir()):
        raise FileError(f"{folder}: holds other files than frames. Choose another folder or empty this one.")
