"""Pictures, masks and clips between ComfyUI, where they are tensors, and families, which read files.

An IMAGE is float32 [F, H, W, C] in [0, 1], a MASK [F, H, W]. Files are named by what is in them, so that the
same picture is the same file in every run, and a record that names it stays true.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from reelwright.comfy import host
from reelwright.media.image_ops import write_png
from reelwright.media.lossless_video import write_lossless

_CHUNK = 16


@dataclass(frozen=True, kw_only=True)
class Frames:
    """A clip that is not in a file yet."""

    images_FHWC: Tensor
    fps: float
    """0 where the model's own rate is meant."""

    def keep(self, default_fps: float) -> Path:
        """The file with these frames, without loss."""
        frames, fps = to_bytes(self.images_FHWC[..., :3]), self.fps or default_fps
        path = _named(frames, f"{fps:g}", ".mp4")
        if not path.is_file():
            write_lossless(path, frames.split(_CHUNK), fps=fps)
        return path


def keep_pictures(images: Tensor) -> list[Path]:
    """A PNG for each picture of an IMAGE, or of a MASK."""
    return [_keep_picture(picture) for picture in to_bytes(images)]


def clip_of(given: Any, fps: float) -> Frames | Path:  # noqa: ANN401 - an IMAGE or a VIDEO of ComfyUI's
    """What a clip's input holds: frames, or the file of a VIDEO that comes from one."""
    if isinstance(given, Tensor):
        return Frames(images_FHWC=given, fps=fps)
    # Videos that are not of a file inherit a way to become one, in memory.
    source = given.get_stream_source() if "get_stream_source" in vars(type(given)) else None
    if isinstance(source, str):
        return Path(source)
    parts = given.get_components()
    return Frames(images_FHWC=parts.images, fps=float(parts.frame_rate))


def to_bytes(images: Tensor) -> Tensor:
    """uint8 of the same shape, halves to even: what was 8 bits comes back as it was."""
    return (images.detach().cpu().float().clamp(0, 1) * 255).round().to(torch.uint8)


def to_images(chunks_FHWC: Sequence[Tensor]) -> Tensor:
    """An IMAGE of chunks of frames in uint8; each is let go of when it is copied."""
    count = sum(len(chunk) for chunk in chunks_FHWC)
    images = torch.empty((count, *chunks_FHWC[0].shape[1:]), dtype=torch.float32)
    start = 0
    for chunk in chunks_FHWC:
        torch.div(chunk, 255.0, out=images[start : start + len(chunk)])
        start += len(chunk)
    return images


def in_chunks(images_FHWC: Tensor) -> Iterator[Tensor]:
    """The frames of an IMAGE, uint8 chunk_FHWC."""
    return (to_bytes(chunk[..., :3]) for chunk in images_FHWC.split(_CHUNK))


def _keep_picture(picture: Tensor) -> Path:
    path = _named(picture, "", ".png")
    if not path.is_file():
        write_png(path, Image.fromarray(picture.numpy()))
    return path


def _named(content: Tensor, facts: str, suffix: str) -> Path:
    digest = hashlib.sha256(f"{tuple(content.shape)} {facts}".encode())
    digest.update(content.contiguous().numpy().tobytes())
    folder = host.output_folder() / "inputs"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{digest.hexdigest()[:24]}{suffix}"
