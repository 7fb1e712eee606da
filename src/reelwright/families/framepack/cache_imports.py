"""Cache files that musubi-tuner made, found by their names, told by their indices (specs: FramePack 4.2)."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from reelwright.checkpoint.safetensors_format import open_safetensors
from reelwright.checkpoint.tensor_source import TensorSource
from reelwright.core.errors import ConfigError, FileError
from reelwright.families.framepack.cache_layout import (
    ARCHITECTURE,
    is_compatible_name,
    plain_key,
    read_section_name,
    stem_of_caption,
)
from reelwright.families.framepack.cache_reading import layout_of
from reelwright.families.framepack.config import FramePackCacheLatents, FramePackCacheText
from reelwright.media.geometry import Size
from reelwright.protocols.caching import ForeignEntry

_STRIDE = 8
"""Pixels to a latent cell."""
_ADVICE = "Name the cache directory of the other program."


def foreign_entries(
    folder: Path, config: FramePackCacheLatents | FramePackCacheText, captions: Mapping[str, str]
) -> Sequence[ForeignEntry]:
    """The latents or the captions, as the configuration asks, in a folder; they are used as they are.

    Raises FileError for a folder without any, for files of another architecture or mode, and for damaged
    ones, all with their names.
    """
    if isinstance(config, FramePackCacheText):
        return _texts(folder, captions)
    if config.form == "compact":
        raise ConfigError(
            "form: files of sections are taken over as they are, not in the compact form."
            " Leave out --form compact."
        )
    paths = [path for path in _files(folder) if is_compatible_name(path.name)]
    if not paths:
        raise FileError(f"{folder}: holds no latents (*_fp.safetensors). {_ADVICE}")
    return [_latents(path, config) for path in paths]


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


def _texts(folder: Path, captions: Mapping[str, str]) -> list[ForeignEntry]:
    """Files that say another caption than the one under their name now are left out."""
    paths = [path for path in _files(folder) if stem_of_caption(path.name) is not None]
    if not paths:
        raise FileError(f"{folder}: holds no captions (*_fp_te.safetensors). {_ADVICE}")
    fitting = (path for path in paths if _caption_of(path) in (None, captions.get(path.name)))
    return [ForeignEntry(path=path, name=path.name) for path in fitting]


def _caption_of(path: Path) -> str | None:
    with _opened(path) as source:
        return source.metadata.get("caption1")


def _latents(path: Path, config: FramePackCacheLatents) -> ForeignEntry:
    with _opened(path) as source:
        found = {plain_key(key): _content(source, key) for key in source.names()}
    try:
        mode, _ = layout_of(found)
    except FileError as error:
        raise FileError(f"{path}: {error}") from error
    if mode != config.mode:
        raise FileError(
            f"{path}: is of mode {mode}, and {config.mode} was asked for. Say --mode {mode}, or take out what"
            " is of another mode: they look alike and must not be mixed."
        )
    if mode != "one_frame":
        height, width = (side * _STRIDE for side in found["latents"].shape[2:])
        _check_name(path, (width, height))
    return ForeignEntry(path=path, name=path.name)


def _check_name(path: Path, size: Size) -> None:
    name = read_section_name(path.name)
    if name is None or name.size != size:
        raise FileError(
            f"{path}: holds a section of {size[0]} x {size[1]} pixels, and its name says otherwise."
            " Encode the clip again."
        )


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
