"""What is trained on: the target of each item, the clean latents it sees, and where all lie in time.

By the names that the trainer knows (specs: FramePack 4.3), without the batch.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache

import torch
from torch import Tensor

from reelwright.core.errors import ConfigError
from reelwright.families.framepack.config import (
    FramePackCacheLatents,
    FramePackDatasetKeys,
    TrainingMode,
)
from reelwright.families.framepack.lora_facts import DIRECTIONS
from reelwright.families.framepack.one_frame import OneFrameOptions
from reelwright.families.framepack.sections import (
    SectionLayout,
    Slots,
    Source,
    Timeline,
    one_frame_layout,
    section_layouts,
)
from reelwright.media.geometry import Size
from reelwright.protocols.datasets import DatasetConfig

INDICES_2X, INDICES_4X = "clean_latent_2x_indices", "clean_latent_4x_indices"
ZEROS = {INDICES_2X: "latents_clean_2x", INDICES_4X: "latents_clean_4x"}
"""Latents of one-frame mode that no file holds, since they are zeros, by the indices that ask for them."""

OF_CLIP = ("clip_latents", "clip_mean", "clip_deviation")
"""Latents of a whole clip [C, T, H, W], or where they lie."""
PICTURES = "clip_pictures"
"""Frames of a clip as pictures [C, 1+S, H, W]: its first, and the last of each of S sections."""
OF_BLACK = "black_embeddings"
"""What the image encoder sees in black, which it is shown where there is nothing to start from."""

FindFrame = Callable[[int], Tensor]
"""A latent frame [C, H, W] by its place in the clip."""


def draw(mean: Tensor, deviation: Tensor, generator: torch.Generator) -> Tensor:
    """Latents [C, T, H, W] from where they lie. Frame by frame, so that a clip may be drawn in parts."""
    channels, num_frames, height, width = mean.shape
    noise = [torch.randn(channels, height, width, generator=generator) for _ in range(num_frames)]
    return mean + deviation * torch.stack(noise, dim=1)


def dataset_keys(dataset: DatasetConfig) -> FramePackDatasetKeys:
    """What a data set says for this family."""
    return dataset.family_keys.get("framepack") or FramePackDatasetKeys()


def clean_indices(keys: FramePackDatasetKeys) -> tuple[int, ...]:
    """Times of the control pictures."""
    return keys.fp_1f_clean_indices or (0,)


@lru_cache(maxsize=64)
def layouts_of_clip(num_sections: int, window: int, mode: TrainingMode) -> tuple[SectionLayout, ...]:
    """The training items of a clip that is encoded whole, first in time first (specs: FramePack 4.4)."""
    timeline = Timeline(num_sections=num_sections, window=window)
    return tuple(sorted(section_layouts(timeline, DIRECTIONS[mode]), key=lambda layout: layout.section))


def section_item(find_frame: FindFrame, layout: SectionLayout) -> dict[str, Tensor]:
    """A section of a clip: the clip's first latent to start from, true latents around it, zeros beyond."""
    nothing = torch.zeros_like(find_frame(0))

    def look(source: Source) -> Tensor:
        match source.kind:
            case "start":
                return find_frame(0)
            case "latent":
                return find_frame(source.position)
            case "zero" | "control":
                return nothing

    item = {"latents": torch.stack([find_frame(position) for position in layout.positions], dim=1)}
    groups = (("", layout.clean_1x), ("_2x", layout.clean_2x), ("_4x", layout.clean_4x))
    present = [(name, slots) for name, slots in groups if slots is not None]
    for name, slots in present:
        item[f"latents_clean{name}"] = torch.stack([look(source) for source in slots.sources], dim=1)
    return {**item, **layout_indices(layout)}


def positions_of(layout: SectionLayout) -> list[int]:
    """The places in the clip of all that a section is and sees, in order."""
    groups = (layout.clean_1x, layout.clean_2x, layout.clean_4x)
    sources = [source for slots in groups if slots is not None for source in slots.sources]
    seen = {source.position for source in sources if source.kind == "latent"}
    return sorted({0, *layout.positions, *seen})


def picture_options(config: FramePackCacheLatents, keys: FramePackDatasetKeys) -> OneFrameOptions:
    """What the pictures of a data set are made of, as `generate` is told (specs: FramePack 9).

    Raises ConfigError if the data set says no target index.
    """
    if keys.fp_1f_target_index is None:
        raise ConfigError(
            "fp_1f_target_index: is missing, and one_frame mode needs the time of the picture that is trained"
            " on. Write fp_1f_target_index = 9 into the data set, for a picture right after a section."
        )
    return OneFrameOptions(
        target_index=(keys.fp_1f_target_index,),
        control_index=clean_indices(keys),
        no_2x=config.one_frame_no_2x,
        no_4x=config.one_frame_no_4x,
        no_post=keys.fp_1f_no_post,
    )


def picture_layout(
    config: FramePackCacheLatents, keys: FramePackDatasetKeys, num_controls: int
) -> SectionLayout:
    """Where a picture and its control pictures lie in time.

    Raises ConfigError for keys that do not fit: no target index, or not one index for each control picture.
    """
    options = picture_options(config, keys)
    if len(options.control_index) != max(num_controls, 1):
        raise ConfigError(
            f"fp_1f_clean_indices: has {len(options.control_index)} numbers for {num_controls} control"
            " pictures. Give one for each; without a control picture, one for the black picture that stands"
            " in."
        )
    return one_frame_layout(options, num_controls, window=keys.fp_latent_window_size)


def picture_item(target: Tensor, controls: Sequence[Tensor], layout: SectionLayout) -> dict[str, Tensor]:
    """A picture [C, H, W] and what it is made from; what is zeros at 2x and 4x has its indices alone."""
    nothing = torch.zeros_like(target)
    sources = layout.clean_1x.sources
    seen = [controls[source.position] if source.kind == "control" else nothing for source in sources]
    return {
        "latents": target.unsqueeze(1),
        "latents_clean": torch.stack(seen, dim=1),
        **layout_indices(layout),
    }


def frame_item(pictures: Tensor, number: int, window: int) -> dict[str, Tensor]:
    """Picture `number` of a clip's pictures [C, 1+S, H, W], made as generation makes single frames.

    The first is made of nothing, at the time that a single frame has by default; others are made of the
    first, at the time that they have in the clip.
    """
    controls = [] if number == 0 else [pictures[:, 0]]
    options = OneFrameOptions(target_index=(window * max(number, 1),))
    layout = one_frame_layout(options, len(controls), window=window)
    return with_zeros(picture_item(pictures[:, number], controls, layout))


def with_zeros(item: dict[str, Tensor]) -> dict[str, Tensor]:
    """The item with the latents of zeros that its indices ask for."""
    channels, _, height, width = item["latents"].shape
    wanted: Iterable[tuple[str, str]] = ((key, name) for key, name in ZEROS.items() if key in item)
    zeros = {
        name: item["latents"].new_zeros(channels, len(item[key]), height, width)
        for key, name in wanted
        if name not in item
    }
    return {**item, **zeros}


def layout_indices(layout: SectionLayout) -> dict[str, Tensor]:
    """Where the target and all it sees lie in time, by the names that the trainer knows."""
    groups: dict[str, Slots | None] = {
        "clean_latent_indices": layout.clean_1x,
        INDICES_2X: layout.clean_2x,
        INDICES_4X: layout.clean_4x,
    }
    clean = {name: torch.tensor(slots.indices) for name, slots in groups.items() if slots is not None}
    return {"latent_indices": torch.tensor(layout.indices), **clean}


def video_group(size: Size, window: int) -> str:
    """Sections of clips of any length can be stacked, if they are equal in size and window."""
    return f"{size[0]}x{size[1]} window {window}"


def picture_group(size: Size, layout: SectionLayout) -> str:
    """Pictures that see equally many latents can be stacked."""
    far = "".join(
        f" {name}" for name, slots in (("2x", layout.clean_2x), ("4x", layout.clean_4x)) if slots is not None
    )
    return f"{size[0]}x{size[1]} one frame of {len(layout.clean_1x.indices)}{far}"
