"""From what a user asked for to one video that the model can make, before anything loads."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from PIL import Image

from reelwright.execution.guidance_passes import check_guidance_passes
from reelwright.execution.step_cache.choosing import check_step_cache
from reelwright.families.framepack.checkpoints import FramePackModel
from reelwright.families.framepack.clips import (
    STRIDE,
    KnownClip,
    frames_beside,
    latents_beside,
    open_clip,
    picture_of,
)
from reelwright.families.framepack.config import Direction, FramePackGenerate
from reelwright.families.framepack.controls import read_mask
from reelwright.families.framepack.lora_use import apply_lora_facts
from reelwright.families.framepack.one_frame import OneFrameOptions, parse_one_frame
from reelwright.families.framepack.plans import decide_sections, end_image_of, section_plans
from reelwright.families.framepack.request_checks import check_one_frame, check_options, check_sections
from reelwright.families.framepack.sections import count_frames
from reelwright.families.framepack.sizes import choose_size
from reelwright.families.framepack.step_cache_facts import step_cache_facts
from reelwright.families.framepack.story import SectionPlan, check_images
from reelwright.families.framepack.story_schema import FRAMES_PER_SECOND
from reelwright.media.image_ops import fit_image, open_image
from reelwright.protocols.family import named_files
from reelwright.protocols.review import Review


@dataclass(frozen=True, kw_only=True)
class SectionRequest:
    """What one section shows, its image read and fitted; None where there is none."""

    plan: SectionPlan
    image: Image.Image | None


@dataclass(frozen=True, kw_only=True)
class FramePackRequest:
    """One video, or one set of single frames, to make."""

    config: FramePackGenerate
    direction: Direction
    sections: tuple[SectionRequest, ...]
    end_image: Image.Image | None = None
    extended: KnownClip | None = None
    """The clip to go on from."""
    bridged: KnownClip | None = None
    """The clip to arrive at."""
    changed: KnownClip | None = None
    """The clip to change."""
    one_frame: OneFrameOptions | None = None
    controls: tuple[tuple[Image.Image, Image.Image | None], ...] = ()
    """Images that single frames are made from, each with its mask at the size of latents."""
    notices: tuple[str, ...] = ()

    @property
    def has_images(self) -> bool:
        """Whether the user gave images to start from; else they come from a clip, or there are none."""
        return any(section.plan.image is not None for section in self.sections)

    @property
    def has_own_multipliers(self) -> bool:
        """Whether LoRAs change their strength from section to section."""
        return any(section.plan.lora_multipliers for section in self.sections)

    @property
    def latent_size(self) -> tuple[int, int]:
        return self.config.height // STRIDE, self.config.width // STRIDE


def resolve(config: FramePackGenerate, model: FramePackModel) -> FramePackRequest:
    """Fill in what was left open, adjust what is not legal, and read the inputs.

    Raises ConfigError with all problems at once, FileError for an input that cannot be read.
    """
    review = Review(config)
    review.set(direction=model.direction, fps=config.fps or float(FRAMES_PER_SECOND))
    apply_lora_facts(review, model.adapters)
    check_options(review)
    check_one_frame(review)
    check_step_cache(review, step_cache_facts(model.transformer))
    check_guidance_passes(review, is_guided=config.guidance_scale != 1.0)
    review.raise_problems()
    decide_sections(review)
    check_sections(review, model.adapters)
    review.raise_problems()
    plans = section_plans(review.config)
    check_images(plans, end_image_of(review.config))
    choose_size(review, model.resolution, plans[0].image)
    review.raise_problems()
    _tell_length(review)
    return _read_inputs(review, model, plans)


def input_files(config: FramePackGenerate) -> dict[str, Path]:
    """Every input file that a resolved configuration names, by field."""
    files = named_files(config, ("story", "end_image", "control_image", "control_mask"))
    plans = section_plans(config)
    images = [plan.image for plan in plans if plan.image is not None]
    if config.story is not None and config.end_image is None:
        images += [image for image in [end_image_of(config)] if image is not None]
    owner = "image" if config.story is None else "story"
    files |= {f"{owner} {number}": path for number, path in enumerate(dict.fromkeys(images), start=1)}
    for name in ("video", "extend", "bridge_to"):
        if (clip := getattr(config, name)) is not None:
            is_shown = name != "bridge_to" and all(plan.image is None for plan in plans)
            files |= _clip_files(name, clip, config, is_shown=is_shown)
    return files


def _clip_files(name: str, clip: Path, config: FramePackGenerate, *, is_shown: bool) -> dict[str, Path]:
    """A clip, the latents beside it that stand for it, and the frames that the image encoder sees."""
    facts = {f"{name} latents": latents_beside(clip, config)}
    if is_shown:
        facts[f"{name} frames"] = frames_beside(clip)
    return {name: clip, **{key: path for key, path in facts.items() if path is not None and path != clip}}


def _tell_length(review: Review[FramePackGenerate]) -> None:
    config = review.config
    if config.one_frame:
        return
    frames = count_frames(config.video_sections, config.latent_window_size)
    review.set(num_frames=frames, video_seconds=frames / FRAMES_PER_SECOND)


def _read_inputs(
    review: Review[FramePackGenerate], model: FramePackModel, plans: Sequence[SectionPlan]
) -> FramePackRequest:
    config = review.config
    reader = _Reader(config, review.notices)
    extended = None if config.extend is None else open_clip(config.extend, config, model)
    changed = None
    if config.video is not None:
        changed = open_clip(config.video, config, model, max_frames=config.num_frames)
    end_image = end_image_of(config)
    shown = reader.shown_instead(plans, extended or changed, model.direction)
    return FramePackRequest(
        config=config,
        direction=model.direction,
        sections=tuple(
            SectionRequest(plan=plan, image=shown if plan.image is None else reader.read(plan.image))
            for plan in plans
        ),
        end_image=None if end_image is None else reader.read(end_image),
        extended=extended,
        bridged=None if config.bridge_to is None else open_clip(config.bridge_to, config, model),
        changed=changed,
        one_frame=parse_one_frame(config.one_frame) if config.one_frame else None,
        controls=tuple(reader.read_controls()),
        notices=tuple(dict.fromkeys(review.notices)),
    )


class _Reader:
    """Reads each picture once, at the size of the video."""

    def __init__(self, config: FramePackGenerate, notices: list[str]) -> None:
        self._config = config
        self._notices = notices
        self._known: dict[tuple[Path, bool], Image.Image] = {}

    def read(self, path: Path, *, keep_hidden: bool = False) -> Image.Image:
        known = (path, keep_hidden)
        if known not in self._known:
            opened = open_image(path, keep_hidden=keep_hidden)
            self._notices.extend(opened.notices)
            config = self._config
            self._known[known] = fit_image(opened.rgb, config.width, config.height, config.image_fit)
        return self._known[known]

    def read_controls(self) -> list[tuple[Image.Image, Image.Image | None]]:
        """Each with its mask; transparency of a control image says what to leave out, not how it looks."""
        pairs = zip_longest(self._config.control_image, self._config.control_mask)
        return [(self.read(path, keep_hidden=True), self._read_mask(path, mask)) for path, mask in pairs]

    def shown_instead(
        self, plans: Sequence[SectionPlan], clip: KnownClip | None, direction: Direction
    ) -> Image.Image | None:
        """What the image encoder sees where no image is given: a frame of the clip."""
        if clip is None or any(plan.image is not None for plan in plans):
            return None
        is_continued = self._config.extend is not None and direction == "backward"
        return picture_of(clip, "last" if is_continued else "first")

    def _read_mask(self, image: Path, mask: Path | None) -> Image.Image | None:
        config = self._config
        return read_mask(image, mask, (config.width, config.height), config.image_fit)
