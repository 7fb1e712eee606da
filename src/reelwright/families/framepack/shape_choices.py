"""Which sizes and lengths may be asked for, told without torch (specs: FramePack 3.4)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from reelwright.families.framepack.buckets import TRAINED_RESOLUTION, TRAINED_SIZES
from reelwright.families.framepack.story_schema import FRAMES_PER_SECOND, TEMPORAL_STRIDE, count_sections
from reelwright.protocols.shape_choices import Length, ShapeChoices, nearest_length, sizes_like, told_settings
from reelwright.protocols.variant import Variant

if TYPE_CHECKING:
    from reelwright.families.framepack.config import FramePackGenerate

_SIDE_STEP = 16
_SECTIONS = (*range(1, 13), 15, 20, 25, 30, 40, 50)
"""Any number will do; these are offered."""


def shape_choices(variants: Sequence[Variant], config: "FramePackGenerate") -> ShapeChoices:
    """Legal sizes, and lengths in whole sections."""
    told = told_settings(config.model, variants, "reelwright.json") or {}
    resolution = int(told.get("resolution", TRAINED_RESOLUTION))
    own = (resolution, resolution)
    asked = config.video_sections or count_sections(config.video_seconds, config.latent_window_size)
    lengths = [_length(sections, config.latent_window_size) for sections in sorted({*_SECTIONS, asked})]
    return ShapeChoices(
        sizes=(own, *TRAINED_SIZES) if resolution == TRAINED_RESOLUTION else sizes_like(own, _SIDE_STEP),
        side_step=_SIDE_STEP,
        size=(config.width or resolution, config.height or resolution),
        lengths=tuple(lengths),
        length=nearest_length(lengths, _length(asked, config.latent_window_size).frames),
    )


def _length(sections: int, window: int) -> Length:
    frames = TEMPORAL_STRIDE * sections * window + 1
    values = {"video_sections": sections, "video_seconds": None, "num_frames": None}
    return Length(frames=frames, seconds=frames / FRAMES_PER_SECOND, values=values)
