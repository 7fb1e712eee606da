"""Frames into ComfyUI's output folder, with the record from which they can be made again."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from reelwright import families
from reelwright.comfy import host
from reelwright.comfy.making import Made, made_of, watched
from reelwright.comfy.pixels import in_chunks
from reelwright.core.config import from_mapping
from reelwright.core.errors import ConfigError
from reelwright.core.provenance import METADATA_KEY
from reelwright.protocols.configs import GenerateConfig
from reelwright.protocols.family import Segment
from reelwright.workflows.clips.files import ClipFiles, write_frames
from reelwright.workflows.clips.planning import plan_decoding


@dataclass(frozen=True, kw_only=True)
class Saved:
    """Files of one clip, and how ComfyUI's page shows them."""

    path: Path
    shown: dict[str, Any]


def save_frames(
    images: Tensor,
    *,
    prefix: str,
    fps: float,
    values: Mapping[str, Any],
    hidden: Sequence[tuple[str, Any]],
) -> Saved:
    """Write a clip, or a folder of frames.

    Frames that another node has changed are written without a record, since it would not be true. `values`
    are those of the configuration. Raises UserError.
    """
    made = made_of(images)
    config, record = _what_to_write(made, fps, values)
    folder, stem, subfolder = host.place_for(prefix, images.shape[2], images.shape[1])
    files = ClipFiles(folder=folder, stem=stem)
    metadata = {name: json.dumps(value) for name, value in host.metadata_of(hidden).items()}
    if record and config.metadata:
        metadata[METADATA_KEY] = record
    segment = _segment(images, fps or (made.fps if made else 0.0))
    watched(write_frames(files, config, segment, metadata))
    wanted = files.wanted(config)
    path = wanted.get("video") or wanted["frames"]
    return Saved(path=path, shown=_shown(path, subfolder))


def _what_to_write(made: Made | None, fps: float, values: Mapping[str, Any]) -> tuple[GenerateConfig, str]:
    """How files are written, and the record that goes into them; empty where nobody knows it."""
    if made is None:
        if not fps:
            raise ConfigError("fps: these images are no clip of a decode node. Say how many a second.")
        config = from_mapping(GenerateConfig, values, "save")
        if config.format == "latent":
            raise ConfigError("format: these are images, not latents. Choose mp4 or png.")
        return config, ""
    asked = {**made.values, **values, "fps": fps, "from_latent": str(made.latents)}
    config = from_mapping(families.configs(made.family).GENERATE, asked, "save")
    (clip,) = plan_decoding(families.load(made.family), config).clips
    return clip.config, clip.told(made.shortcuts)


def _segment(images: Tensor, fps: float) -> Segment:
    """Frames as the writers of files take them."""

    def decode() -> Iterator[Tensor]:
        return in_chunks(images)

    return Segment(latents_BCTHW=torch.empty(0), num_frames=len(images), fps=fps, decode=decode)


def _shown(path: Path, subfolder: str) -> dict[str, Any]:
    if path.is_file():
        return {"images": [_result(path.name, subfolder)], "animated": (True,)}
    inside = (Path(subfolder) / path.name).as_posix()
    return {"images": [_result(each.name, inside) for each in sorted(path.glob("*.png"))]}


def _result(name: str, subfolder: str) -> dict[str, str]:
    return {"filename": name, "subfolder": subfolder, "type": "output"}
