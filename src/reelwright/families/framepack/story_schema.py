"""What a storyboard file may say, and how long a section is. No torch here."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge, Le

from reelwright.protocols.storyboards import StorySchema

FRAMES_PER_SECOND = 30
TEMPORAL_STRIDE = 4
"""Frames to a latent, after the first, which is one frame."""
LARGEST_SEED = 2**63 - 1


@dataclass(frozen=True, kw_only=True)
class StoryWhole:
    """The keys above the parts."""

    end_image: Path | None = None
    """What the video ends on; relative to the storyboard."""
    negative_prompt: str = ""
    """What to stay away from, in all sections."""


@dataclass(frozen=True, kw_only=True)
class StoryFile(StoryWhole):
    """The keys of a storyboard file."""

    section: tuple[dict[str, Any], ...] = ()
    """Parts of the video in time order, each a `[[section]]` table."""


@dataclass(frozen=True, kw_only=True)
class StorySection:
    """The keys of a `[[section]]` table; without a duration it is one section long."""

    prompt: str = ""
    """What to show; empty takes the first prompt of the storyboard."""
    image: Path | None = None
    """Where to start from, relative to the storyboard; without one, the first image of the storyboard."""
    seconds: Annotated[float, Ge(0.0)] = 0.0
    """How long, rounded to whole sections."""
    sections: Annotated[int, Ge(0)] = 0
    """How long, instead of `seconds`."""
    seed: Annotated[int, Ge(-1), Le(LARGEST_SEED)] = -1
    """Of the noise of each of these sections; -1 goes on with the noise of the run."""
    lora_multipliers: tuple[float, ...] = ()
    """How strongly each LoRA of the run is applied here; none takes what the run says."""


def section_seconds(window: int) -> float:
    """How long a section of `window` latents lasts."""
    return TEMPORAL_STRIDE * window / FRAMES_PER_SECOND


def sections_of_part(part: StorySection, window: int) -> int:
    """How many sections a part of a storyboard is, for sections of `window` latents."""
    return part.sections or (count_sections(part.seconds, window) if part.seconds else 1)


def count_sections(seconds: float, window: int = 9) -> int:
    """How many sections last about so many seconds at 30 frames per second; at least one.

    Halves go to the even number, as released: 4.5 sections are 4.
    """
    return max(round(seconds * FRAMES_PER_SECOND / (TEMPORAL_STRIDE * window)), 1)


STORY_OF_FAMILY = StorySchema(
    whole=StoryWhole,
    part=StorySection,
    answers=(
        *("prompt", "negative_prompt", "image", "end_image", "section_seeds", "num_videos", "num_frames"),
        *(
            "video_seconds",
            "video_sections",
            "video",
            "strength",
            "extend",
            "bridge_to",
            "loop",
            "clip_latents",
        ),
        *("one_frame", "control_image", "control_mask", "one_frame_auto_resize", "latent_paddings"),
    ),
    section_seconds=lambda config: section_seconds(config.latent_window_size),
    num_sections=lambda part, config: sections_of_part(part, config.latent_window_size),
)
