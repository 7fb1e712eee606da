"""Names of cache files and of what is in them, as musubi-tuner has them (specs: FramePack 4.2, 4.3).

clip_00000-073-0001_0640x0480_fp.safetensors    section 1 of 73 frames from frame 0 on, at 640 x 480
picture_0800x0600_fp.safetensors                a picture of 800 x 600, whatever size it is trained at
clip_00000-073_0640x0480_fpc.safetensors        all of a clip, in the compact form, which is ours alone
clip_00000-073_0640x0480_fpp.safetensors        frames of a clip as pictures, beside the compact form
clip_fp_te.safetensors                          a caption
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from reelwright.families.framepack.config import TrainingMode
from reelwright.media.geometry import Size
from reelwright.protocols.clips import Clip

ARCHITECTURE = "framepack"
FORMAT_VERSION = "1.0.1"
STORED = torch.float16
"""The number format of latents and features, as the other program has it."""
_MODE, _WINDOW = "reelwright_mode", "reelwright_window"
"""Metadata that the other program has not."""

_LATENTS, _COMPACT, _PICTURES, _TEXT = (
    *("_fp.safetensors", "_fpc.safetensors", "_fpp.safetensors", "_fp_te.safetensors"),
)
_SIZE = r"(?P<width>[0-9]{4,})x(?P<height>[0-9]{4,})"
_SPAN = r"(?P<start>[0-9]{5,})-(?P<num_frames>[0-9]{3,})"
_ANY = re.compile(rf"(?P<stem>.+)_{_SIZE}{re.escape(_LATENTS)}", re.DOTALL)
_SECTION = re.compile(
    rf"(?P<stem>.+)_{_SPAN}-(?P<section>[0-9]{{4,}})_{_SIZE}{re.escape(_LATENTS)}", re.DOTALL
)
_CLIP = re.compile(rf"(?P<stem>.+)_{_SPAN}_{_SIZE}_fp[cp]\.safetensors", re.DOTALL)
_CAPTION = re.compile(rf"(?P<stem>.+){re.escape(_TEXT)}", re.DOTALL)
_DTYPE = re.compile(r"_(?:bfloat16|float\d+(?:_e\dm\d\w*)?|u?int\d+|bool)$")
_SHAPE = re.compile(r"_\d+x\d+x\d+$")


@dataclass(frozen=True, kw_only=True, slots=True)
class SectionName:
    """What the name of a section's file says."""

    stem: str
    start: int
    num_frames: int
    """Of the clip, before it is cut to whole sections."""
    section: int
    size: Size


def section_name(clip: Clip, section: int) -> str:
    return f"{_span(clip)}-{section:04d}_{_size(clip.size)}{_LATENTS}"


def picture_name(clip: Clip) -> str:
    return f"{clip.source.stem}_{_size(clip.facts.size)}{_LATENTS}"


def clip_name(clip: Clip) -> str:
    return f"{_span(clip)}_{_size(clip.size)}{_COMPACT}"


def pictures_name(clip: Clip) -> str:
    return f"{_span(clip)}_{_size(clip.size)}{_PICTURES}"


def caption_name(stem: str) -> str:
    return f"{stem}{_TEXT}"


def read_section_name(name: str) -> SectionName | None:
    """What the name of a section's file says; None for others. A picture may be called so, too."""
    found = _SECTION.fullmatch(name)
    if found is None:
        return None
    return SectionName(
        stem=found["stem"],
        start=int(found["start"]),
        num_frames=int(found["num_frames"]),
        section=int(found["section"]),
        size=(int(found["width"]), int(found["height"])),
    )


def stem_of_picture(name: str) -> str | None:
    """The stem in the name of a picture's file; None for others."""
    found = _ANY.fullmatch(name)
    return found and found["stem"]


def stem_of_caption(name: str) -> str | None:
    """The stem in the name of a caption's file; None for others."""
    found = _CAPTION.fullmatch(name)
    return found and found["stem"]


def is_compatible_name(name: str) -> bool:
    """Whether a file of that name may hold a section or a picture."""
    return _ANY.fullmatch(name) is not None


def is_compact_name(name: str) -> bool:
    return _CLIP.fullmatch(name) is not None


def clip_metadata(clip: Clip, window: int, mode: TrainingMode | None = None) -> dict[str, str]:
    """What a file of a clip says of it; the mode, where sections are laid out."""
    own = {} if mode is None else {_MODE: mode}
    return {**_metadata(clip.size), "frame_count": str(clip.num_frames), _WINDOW: str(window), **own}


def picture_metadata(clip: Clip, window: int) -> dict[str, str]:
    return {**_metadata(clip.facts.size), _WINDOW: str(window), _MODE: "one_frame"}


def caption_metadata(caption: str) -> dict[str, str]:
    return {"architecture": ARCHITECTURE, "caption1": caption, "format_version": FORMAT_VERSION}


def named_tensors(item: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a file by the names they have in it, from those that the trainer knows.

    All that begin with `latents` carry the shape and number format of the target, as the other program has
    it, whatever their own are.
    """
    target = ""
    if "latents" in item:
        frames, height, width = item["latents"].shape[1:]
        target = f"_{frames}x{height}x{width}{_dtype(item['latents'])}"
    return {_file_key(name, tensor, target): tensor for name, tensor in item.items()}


def plain_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a file by the names that the trainer knows. What they are, they tell themselves."""
    return {plain_key(key): tensor for key, tensor in tensors.items()}


def plain_key(key: str) -> str:
    name = key.removeprefix("varlen_")
    if name.endswith("_mask"):
        return name
    name = _DTYPE.sub("", name)
    return _SHAPE.sub("", name) if name.startswith("latents_") else name


def _file_key(name: str, tensor: Tensor, target: str) -> str:
    if name.endswith("_mask"):
        return name
    return name + (target if name.startswith("latents") else _dtype(tensor))


def _dtype(tensor: Tensor) -> str:
    return f"_{str(tensor.dtype).removeprefix('torch.')}"


def _metadata(size: Size) -> dict[str, str]:
    return {
        "architecture": ARCHITECTURE,
        "width": str(size[0]),
        "height": str(size[1]),
        "format_version": FORMAT_VERSION,
    }


def _span(clip: Clip) -> str:
    return f"{clip.source.stem}_{clip.start:05d}-{clip.num_frames:03d}"


def _size(size: Size) -> str:
    return f"{size[0]:04d}x{size[1]:04d}"
