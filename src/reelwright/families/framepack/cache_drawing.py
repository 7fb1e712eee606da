"""Sections drawn out of whole clips: which kind, and which one, follows from an item's random numbers."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from reelwright.families.framepack.cache_items import (
    OF_BLACK,
    OF_CLIP,
    PICTURES,
    dataset_keys,
    frame_item,
)
from reelwright.families.framepack.cache_layout import plain_tensors
from reelwright.families.framepack.cache_reading import FramePackItemReader, count_sections_in, item_reader
from reelwright.families.framepack.config import (
    FramePackCacheLatents,
    FramePackDatasetKeys,
    FramePackDrawnLatents,
    FramePackSectionsConfig,
    TrainingMode,
)
from reelwright.families.framepack.lora_facts import DIRECTIONS
from reelwright.families.framepack.sections import section_order
from reelwright.protocols.datasets import DatasetConfig


@dataclass(frozen=True)
class DrawnSectionReader:
    """Reads files of the compact form. An epoch has as many items of a clip as it has sections."""

    config: FramePackDrawnLatents
    keys: FramePackDatasetKeys

    def read(self, tensors: Mapping[str, Tensor], item: int, generator: torch.Generator) -> dict[str, Tensor]:
        """A section as a cache of its kind would hold it. Of the generator's numbers the first chooses the
        kind, the second how many sections are made before it, a third its video's length if that is drawn,
        and those that follow draw from moments.

        Of a file of pictures, one of them. Raises FileError for what is no file of a clip.
        """
        found = plain_tensors(tensors)
        if PICTURES in found:
            return self._picture(found, generator)
        mode = draw_kind(self.config.sections, float(torch.rand((), generator=generator)))
        num_sections = count_sections_in(found, self.keys.fp_latent_window_size)
        number = int(torch.randint(num_sections, (), generator=generator))
        section = section_order(DIRECTIONS[mode], num_sections)[number]
        if self.config.sections.lengths == "any" and mode == "base":
            found = self._shortened(found, section + int(torch.randint(number + 1, (), generator=generator)))
        return self._reader(mode).section(found, section, generator)

    def read_text(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """As those of any other section."""
        return self._reader("base").read_text(tensors)

    def _picture(self, found: Mapping[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """The first picture is made of nothing, so that what the image encoder sees is black."""
        pictures = found[PICTURES]
        number = int(torch.randint(pictures.shape[1], (), generator=generator))
        features = found["image_embeddings"] if number else found[OF_BLACK]
        item = frame_item(pictures, number, self.keys.fp_latent_window_size)
        return {**item, "image_embeddings": features}

    def _shortened(self, found: Mapping[str, Tensor], last: int) -> dict[str, Tensor]:
        """The clip as if it ended with section `last`, counted from 0."""
        length = 1 + (last + 1) * self.keys.fp_latent_window_size
        return {name: tensor[:, :length] if name in OF_CLIP else tensor for name, tensor in found.items()}

    def _reader(self, mode: TrainingMode) -> FramePackItemReader:
        return FramePackItemReader(replace(self.config, mode=mode), self.keys)


def reader_of(
    config: FramePackCacheLatents, dataset: DatasetConfig
) -> FramePackItemReader | DrawnSectionReader:
    """What reads the files of a data set's caches, whose items may draw their sections."""
    if isinstance(config, FramePackDrawnLatents):
        return DrawnSectionReader(config, dataset_keys(dataset))
    return item_reader(config, dataset)


def drawn_kinds(sections: FramePackSectionsConfig) -> dict[TrainingMode, float]:
    """The kinds that are drawn at all, with their weights."""
    weights: dict[TrainingMode, float] = {"base": sections.base, "f1": sections.f1}
    return {mode: weight for mode, weight in weights.items() if weight}


def draw_kind(sections: FramePackSectionsConfig, chance: float) -> TrainingMode:
    """The kind at a place from 0 to 1 on the line that weights divide; at least one is above 0."""
    kinds = drawn_kinds(sections)
    rest = chance * sum(kinds.values())
    for mode, weight in kinds.items():
        if rest < weight:
            return mode
        rest -= weight
    return list(kinds)[-1]  # where sums are rounded
