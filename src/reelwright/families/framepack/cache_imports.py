"""Cache files that musubi-tuner made, found by their names, told by their indices (specs: FramePack 4.2)."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from reelwright.checkpoint.safetensors_format import open_safetensors
from reelwright.checkpoint.tensor_source import TensorSource
from reelwright.core.errors import ConfigError, FileError
from reelwright.families.framepack.cache_items import video_group
from reelwright.families.framepack.cache_layout import (
    ARCHITECTURE,
    is_compatible_name,
    plain_key,
    read_section_name,
    stem_of_caption,
    stem_of_picture,
)
from reelwright.families.framepack.cache_reading import layout_of
from reelwright.families.framepack.cache_texts import TEXT_GROUP
from reelwright.families.framepack.config import FramePackCacheLatents, FramePackCacheText
from reelwright.media.geometry import Size
from reelwright.protocols.caching import CacheEntry, ForeignEntry

_STRIDE = 8
"""Pixels to a latent cell."""


def foreign_entries(
    folder: Path, config: FramePackCacheLatents | FramePackCacheText
) -> Sequence[ForeignEntry]:
    """The latents or the captions, as the configuration asks, in a folder; they are used as they are.

    Raises FileError for a folder without any, for files of another architecture or mode, and for damaged
    ones, all with their names.
    """
    paths = sorted(folder.glob("*.safetensors"))
    if isinstance(config, FramePackCacheText):
        found = [_caption(path, stem) for path in paths if (stem := stem_of_caption(path.name)) is not None]
    else:
        if config.form == "compact":
            raise ConfigError(
                "form: files of sections are taken over as they are, not in the compact form."
                " Leave out --form compact."
            )
        found = [_latents(path, config) for path in paths if is_compatible_name(path.name)]
    if not found:
        kind = "captions (*_fp_te.safetensors)"
        if isinstance(config, FramePackCacheLatents):
            kind = "latents (*_fp.safetensors)"
        raise FileError(f"{folder}: holds no {kind}. Name the cache directory of the other program.")
    return found


def _caption(path: Path, stem: str) -> ForeignEntry:
    with _opened(path):
        pass
    entry = CacheEntry(name=path.name, group=TEXT_GROUP, num_bytes=path.stat().st_size)
    return ForeignEntry(path=path, stem=stem, name=path.name, kind="text", entry=entry)


def _latents(path: Path, config: FramePackCacheLatents) -> ForeignEntry:
    with _opened(path) as source:
        found = {plain_key(key): _content(source, key) for key in source.names()}
    try:
        mode, window = layout_of(found)
    except FileError as error:
        raise FileError(f"{path}: {error}") from error
    if mode != config.mode:
        raise FileError(
            f"{path}: is of mode {mode}, and {config.mode} was asked for. Say --mode {mode}, or take out what"
            " is of another mode: they look alike and must not be mixed."
        )
    height, width = (side * _STRIDE for side in found["latents"].shape[2:])
    size = (width, height)
    if mode == "one_frame":
        stem, group = stem_of_picture(path.name), f"{width}x{height} one frame"
    else:
        stem, group = _stem_of_section(path, size), video_group(size, window)
    entry = CacheEntry(name=path.name, group=group, num_bytes=path.stat().st_size)
    return ForeignEntry(path=path, stem=stem or "", name=path.name, kind="latents", entry=entry)


def _stem_of_section(path: Path, size: Size) -> str:
    name = read_section_name(path.name)
    if name is None or name.size != size:
        raise FileError(
            f"{path}: holds a section of {size[0]} x {size[1]} pixels, and its name says otherwise."
            " Encode the clip again."
        )
    return name.stem


def _opened(path: Path) -> TensorSource:
    """The file. Raises FileError if it is damaged or of another architecture."""
    source = open_safetensors(path)
    told = source.metadata.get("architecture", "nothing")
    if told != ARCHITECTURE:
        source.close()
        raise FileError(
            f"{path}: says of its architecture {told}, not {ARCHITECTURE}. Take it out of the folder."
        )
    return source


def _content(source: TensorSource, key: str) -> Tensor:
    """Indices are read; of all else the shape is enough."""
    if plain_key(key).endswith("_indices"):
        return source.read(key)
    return torch.empty(source.shape(key), dtype=source.dtype(key), device="meta")
