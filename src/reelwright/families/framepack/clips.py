"""Clips that a video goes on from, arrives at, or changes: their own latents, or their frames."""

from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from PIL import Image
from torch import Tensor

from reelwright.checkpoint.latent_files import SUFFIX, read_latents
from reelwright.checkpoint.safetensors_io import open_tensors
from reelwright.core.errors import ConfigError, FileError
from reelwright.core.provenance import METADATA_KEY, Provenance
from reelwright.families.framepack.checkpoints import FramePackModel
from reelwright.families.framepack.config import FramePackGenerate
from reelwright.families.framepack.sections import TEMPORAL_STRIDE, frames_of_latents
from reelwright.families.framepack.story_schema import FRAMES_PER_SECOND
from reelwright.media.geometry import neighbor_num_frames
from reelwright.media.image_ops import Fit, fit_image, to_pixels
from reelwright.media.video_reader import probe_video, stream_video

STRIDE = 8
"""Pixels to a latent cell."""
LATENT_FILES = (".safetensors", ".pt")
"""Endings of files of latents; all others are clips."""


@dataclass(frozen=True, kw_only=True)
class KnownClip:
    """A clip by its latents, or by the file of its frames, which are read only when they are encoded."""

    path: Path
    width: int
    height: int
    fit: Fit = "crop"
    latents_BCTHW: Tensor | None = None
    max_frames: int | None = None

    def read_pixels(self) -> Tensor:
        """The frames at 30 per second, [1, 3, 4k+1, H, W] in [-1, 1]; those beyond 4k+1 are left out."""
        frames = stream_video(self.path, fps=FRAMES_PER_SECOND, max_frames=self.max_frames)
        pictures = [to_pixels(self.fitted(frame)) for frame in frames]
        count = neighbor_num_frames(len(pictures), TEMPORAL_STRIDE)[0]
        return torch.stack(pictures[:count], dim=1).unsqueeze(0)

    def fitted(self, frame_HWC: Tensor) -> Image.Image:
        """A frame of the file at the size of the clip."""
        return fit_image(Image.fromarray(frame_HWC.numpy()), self.width, self.height, self.fit)


def clip_size(path: Path) -> tuple[int, int]:
    """Height and width in pixels of a clip, or of what saved latents decode to. Raises FileError."""
    if path.suffix in LATENT_FILES:
        height, width = read_latents(path).shape[3:]
        return height * STRIDE, width * STRIDE
    info = probe_video(path)
    return info.height, info.width


def open_clip(
    path: Path, config: FramePackGenerate, model: FramePackModel, *, max_frames: int | None = None
) -> KnownClip:
    """A clip at the size of the configuration, with its own latents where they are there and fit.

    Raises ConfigError for latents of another size, FileError for what cannot be read or is of another model.
    """
    if path.suffix in LATENT_FILES:
        latents = read_latents(path)
        if latents.shape[3:] != _latent_size(config):
            height, width = (side * STRIDE for side in latents.shape[3:])
            raise ConfigError(
                f"{path}: its latents are of {width} x {height} pixels; the video is {config.width} x"
                f" {config.height}. Leave out --height and --width, or give the clip itself."
            )
        if not _is_of(path, latents, model):
            raise FileError(
                f"{path}: its latents are not those of {model.autoencoder_path}. Name the --model that made"
                " them, or give the clip itself."
            )
    else:
        latents = None
        if (own := latents_beside(path, config)) is not None:
            found = read_latents(own)
            latents = found if _is_of(own, found, model) else None
    return KnownClip(
        path=path,
        width=config.width,
        height=config.height,
        fit=config.image_fit,
        latents_BCTHW=latents,
        max_frames=max_frames,
    )


def latents_beside(path: Path, config: FramePackGenerate) -> Path | None:
    """The latents saved beside a clip, unless they shall not be used, or are of another size or length.

    Raises FileError for a clip or latents that cannot be read.
    """
    if path.suffix in LATENT_FILES:
        return None
    info, beside = probe_video(path), path.with_suffix(SUFFIX)
    if config.clip_latents == "encode" or not beside.is_file():
        return None
    try:
        shape = read_latents(beside).shape
    except FileError as error:
        raise FileError(f"{error} Or have the clip encoded anew: --clip-latents encode.") from error
    fits = shape[3:] == _latent_size(config) and frames_of_latents(shape[2]) == info.num_frames
    return beside if fits else None


def picture_of(clip: KnownClip, which: Literal["first", "last"]) -> Image.Image:
    """A frame of the clip for the image encoder. Raises ConfigError where there are only latents."""
    path = frames_beside(clip.path)
    if path is None:
        raise ConfigError(
            f"image: {clip.path} has only latents, and the image encoder needs a picture of the clip."
            " Give one with --image, or the clip itself."
        )
    frames = stream_video(path, fps=FRAMES_PER_SECOND, max_frames=1 if which == "first" else None)
    (frame,) = deque(frames, maxlen=1)
    return clip.fitted(frame)


def frames_beside(path: Path) -> Path | None:
    """The file with the frames of a clip: itself, or beside its latents if it is there."""
    if path.suffix not in LATENT_FILES:
        return path
    beside = path.with_name(path.name.removesuffix(SUFFIX) + ".mp4")
    return beside if beside.is_file() else None


def _is_of(path: Path, latents_BCTHW: Tensor, model: FramePackModel) -> bool:
    """Whether latents are of the model's autoencoder, as far as their file says."""
    with open_tensors(path) as source:
        text = source.metadata.get(METADATA_KEY)
    recorded = Provenance.from_json(text, str(path)).models if text else {}
    same_autoencoder = recorded.get("vae", model.fingerprints["vae"]) == model.fingerprints["vae"]
    return same_autoencoder and latents_BCTHW.shape[1] == model.autoencoder.latent_channels


def _latent_size(config: FramePackGenerate) -> tuple[int, int]:
    return config.height // STRIDE, config.width // STRIDE
