"""Names of the files of a cache and of the tensors in them, there and back (the grammar of musubi-tuner)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Self

import torch
from torch import Tensor

from reelwright.media.geometry import Size
from reelwright.protocols.clips import Clip

METADATA = {"architecture": "cogvideox", "format_version": "1.0.1"}
"""What every file says of itself."""
FIRST_FRAME_PIXELS = "first_frame_pixels"
"""uint8 [3, H, W], without noise."""

_LATENTS = re.compile(r"(.+)_(\d{5,})-(\d{3,})_(\d{4,})x(\d{4,})_cvx\.safetensors")
_TEXT = re.compile(r".+_cvx_te\.safetensors")

TensorKind = Literal[
    "latents", "moments", "image_latents", "image_moments", "control_latents", "prompt_embeds"
]
"""Latents are scaled as the denoiser reads those of clips, of an image too; moments are not scaled."""


@dataclass(frozen=True, kw_only=True)
class LatentFileName:
    """What the name of a file of latents tells."""

    stem: str
    start: int
    num_frames: int
    size: Size

    @classmethod
    def of(cls, clip: Clip) -> Self:
        return cls(stem=clip.source.stem, start=clip.start, num_frames=clip.num_frames, size=clip.size)

    @classmethod
    def parse(cls, name: str) -> Self | None:
        """None for the name of any other file."""
        found = _LATENTS.fullmatch(name)
        if found is None:
            return None
        start, num_frames, width, height = map(int, found.groups()[1:])
        return cls(stem=found[1], start=start, num_frames=num_frames, size=(width, height))

    def __str__(self) -> str:
        width, height = self.size
        place = f"{self.start:05d}-{self.num_frames:03d}_{width:04d}x{height:04d}"
        return f"{self.stem}_{place}_cvx.safetensors"


def text_file_name(stem: str) -> str:
    return f"{stem}_cvx_te.safetensors"


def is_text_file(name: str) -> bool:
    return _TEXT.fullmatch(name) is not None


def tensor_key(kind: TensorKind, tensor: Tensor) -> str:
    """As `latents_5x16x24_bfloat16` for [C, T, H, W], `prompt_embeds_bfloat16` for [L, D]."""
    dtype = str(tensor.dtype).removeprefix("torch.")
    if kind == "prompt_embeds":
        return f"{kind}_{dtype}"
    return f"{kind}_{'x'.join(map(str, tensor.shape[1:]))}_{dtype}"


def find_tensor(tensors: Mapping[str, Tensor], kind: TensorKind) -> Tensor | None:
    """The tensor of a kind, whatever its size and number format."""
    pattern = re.compile(rf"{kind}(_\d+x\d+x\d+)?_[a-z]+\d+\w*")
    return next((tensor for key, tensor in tensors.items() if pattern.fullmatch(key)), None)


def stored(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """As it is written: in CPU memory of its own, whole and nothing else."""
    return tensor.to("cpu", dtype, copy=True).contiguous()


def clip_metadata(name: LatentFileName, fps: float = 0.0) -> dict[str, str]:
    """What a file of latents says of its clip; a picture has no frame rate, which 0 stands for."""
    width, height = name.size
    rate = {"fps": f"{fps:g}"} if fps else {}
    facts = {"frame_count": str(name.num_frames), "width": str(width), "height": str(height)}
    return {**METADATA, **facts, **rate}
