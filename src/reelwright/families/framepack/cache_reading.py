"""From cache files, ours and those of musubi-tuner, to what the trainer is given (specs: FramePack 4.3)."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from reelwright.core.errors import FileError
from reelwright.families.framepack.cache_items import (
    INDICES_2X,
    INDICES_4X,
    clean_indices,
    dataset_keys,
    draw,
    layout_indices,
    layouts_of_clip,
    picture_layout,
    positions_of,
    section_item,
    with_zeros,
)
from reelwright.families.framepack.cache_layout import plain_tensors
from reelwright.families.framepack.config import FramePackCacheLatents, FramePackDatasetKeys, TrainingMode
from reelwright.protocols.datasets import DatasetConfig

_ENCODE_AGAIN = "Encode it again."
_FEATURES = ("llama_vec", "llama_attention_mask", "clip_l_pooler")
_OF_EACH = ("latents", "latents_clean", "latent_indices", "clean_latent_indices", "image_embeddings")
_OF_SECTIONS = ("latents_clean_2x", "latents_clean_4x", INDICES_2X, INDICES_4X)
_INDICES = ("latent_indices", "clean_latent_indices", INDICES_2X, INDICES_4X)


@dataclass(frozen=True)
class FramePackItemReader:
    """Reads both forms: a file for each section or picture, and a file for each clip."""

    config: FramePackCacheLatents
    keys: FramePackDatasetKeys

    def read(self, tensors: Mapping[str, Tensor], item: int, generator: torch.Generator) -> dict[str, Tensor]:
        """`latents` [C, T, H, W], `latents_clean`, `latents_clean_2x`, `latents_clean_4x`; `latent_indices`
        and the `clean_latent...indices` of those; `image_embeddings` [L, D].

        Zeros that a file of one-frame mode leaves out are put in. Raises FileError for what is no such file,
        or one of another mode, window or place in time.
        """
        found = plain_tensors(tensors)
        if "clip_latents" in found or "clip_mean" in found:
            return self.section(found, item, generator)
        if item:
            raise ValueError(f"item {item}: a file of one section, or of a picture, holds one.")
        mode, window = layout_of(found)
        if mode != self.config.mode or (mode != "one_frame" and window != self._window):
            raise FileError(
                f"It is of mode {mode} with {window} latents, not {self.config.mode} with {self._window}."
                f" {_ENCODE_AGAIN}"
            )
        if mode == "one_frame":
            self._check_times(found)
        return with_zeros(found)

    def section(
        self, found: Mapping[str, Tensor], item: int, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Section `item` of a clip in the compact form, by the names that the trainer knows.

        Of moments, no more is drawn than the section sees. Raises FileError for what holds no such section.
        """
        is_drawn = "clip_latents" not in found
        _check_has(found, ("clip_deviation", "image_embeddings") if is_drawn else ("image_embeddings",))
        values = found["clip_mean"] if is_drawn else found["clip_latents"]
        num_sections = count_sections_in(found, self._window)
        if not 0 <= item < num_sections or self.config.mode == "one_frame":
            raise FileError(
                f"It holds {values.shape[1]} latents, and no section {item} of {self._window}."
                f" {_ENCODE_AGAIN}"
            )
        layout = layouts_of_clip(num_sections, self._window, self.config.mode)[item]
        places = positions_of(layout)
        seen = values[:, places]
        if is_drawn:
            seen = draw(seen.float(), found["clip_deviation"][:, places].float(), generator).to(values.dtype)
        frames = dict(zip(places, seen.unbind(dim=1), strict=True))
        return {**section_item(frames.__getitem__, layout), "image_embeddings": found["image_embeddings"]}

    def read_text(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """`llama_vec` [512, D], `llama_attention_mask` [512], true where a token is, `clip_l_pooler` [D]."""
        found = plain_tensors(tensors)
        _check_has(found, _FEATURES)
        return {name: found[name] for name in _FEATURES}

    @property
    def _window(self) -> int:
        return self.keys.fp_latent_window_size

    @cached_property
    def _picture_indices(self) -> dict[str, list[int]]:
        num_controls = len(clean_indices(self.keys))
        return _indices(layout_indices(picture_layout(self.config, self.keys, num_controls)))

    def _check_times(self, found: Mapping[str, Tensor]) -> None:
        """One LoRA learns one layout, so all pictures must have that of their data set."""
        if (times := _indices(found)) != self._picture_indices:
            raise FileError(
                f"Its pictures lie at {times}; the data set says {self._picture_indices}. {_ENCODE_AGAIN}"
            )


def item_reader(config: FramePackCacheLatents, dataset: DatasetConfig) -> FramePackItemReader:
    """What reads the files of a data set's caches."""
    return FramePackItemReader(config, dataset_keys(dataset))


def count_sections_in(found: Mapping[str, Tensor], window: int) -> int:
    """Sections of a clip in the compact form, by the names that the trainer knows. Raises FileError."""
    kept = [name for name in ("clip_mean", "clip_latents") if name in found]
    num_latents = found[kept[0]].shape[1] if kept else 0
    num_sections, rest = divmod(num_latents - 1, window)
    if rest or num_sections < 1:
        raise FileError(
            f"It holds {num_latents} latents of a clip, which are no sections of {window}. {_ENCODE_AGAIN}"
        )
    return num_sections


def layout_of(found: Mapping[str, Tensor]) -> tuple[TrainingMode, int]:
    """The mode and the number of latents of a section or a picture, which its indices tell.

    Takes tensors by the names that the trainer knows, of which only the indices' values are looked at.
    Raises FileError.
    """
    _check_has(found, _OF_EACH)
    target = found["latent_indices"].tolist()
    num_latents = found["latents"].shape[1] if found["latents"].ndim == 4 else 0
    if num_latents == 0 or num_latents != len(target):
        raise FileError(f"Its latents and its indices do not fit each other. {_ENCODE_AGAIN}")
    if "latents_clean_2x" not in found and num_latents == 1:
        return "one_frame", 1
    _check_has(found, _OF_SECTIONS)
    # The first image is at 0. What else is seen comes after the section, or, in F1, before it.
    is_forward = max(found[INDICES_2X].tolist()) < min(target)
    return ("f1" if is_forward else "base"), num_latents


def _indices(found: Mapping[str, Tensor]) -> dict[str, list[int]]:
    return {name: found[name].tolist() for name in _INDICES if name in found}


def _check_has(found: Mapping[str, Tensor], names: tuple[str, ...]) -> None:
    if missing := [name for name in names if name not in found]:
        raise FileError(f"It has no {', '.join(missing)}. {_ENCODE_AGAIN}")
