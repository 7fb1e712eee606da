"""How many sections a video has and what each shows: decided once, and carried in the configuration."""

from dataclasses import replace
from pathlib import Path

from reelwright.checkpoint.latent_files import read_latents
from reelwright.core.errors import ConfigError
from reelwright.families.framepack.clips import LATENT_FILES
from reelwright.families.framepack.config import FramePackGenerate
from reelwright.families.framepack.section_spec import parse_section_spec, write_section_spec
from reelwright.families.framepack.sections import (
    count_frames,
    count_sections_of_clip,
    frames_of_latents,
)
from reelwright.families.framepack.story import SectionPlan, Storyboard, plan_sections, read_story
from reelwright.families.framepack.story_schema import FRAMES_PER_SECOND, count_sections
from reelwright.media.video_reader import probe_video
from reelwright.protocols.review import Review


def decide_sections(review: Review[FramePackGenerate]) -> None:
    """Put the number of sections into the configuration, and what a storyboard says of the whole video."""
    config = review.config
    if config.one_frame:
        review.set(video_sections=1)
    elif config.story is not None:
        story = _story(config)
        review.set(
            video_sections=len(story.sections),
            negative_prompt=config.negative_prompt or story.negative_prompt,
        )
    else:
        review.set(video_sections=_count_sections(review))


def section_plans(config: FramePackGenerate) -> tuple[SectionPlan, ...]:
    """What each section shows, in time order; the configuration's own texts go over the storyboard's.

    Raises ConfigError for texts that cannot be read.
    """
    count = config.video_sections
    if config.story is None:
        image = "" if config.image is None else str(config.image)
        return plan_sections(config.prompt, image, config.section_seeds, count)
    prompts = parse_section_spec(config.prompt, count, "prompt").given if config.prompt else {}
    seeds = plan_sections("-", "", config.section_seeds, count)
    return tuple(
        replace(
            plan,
            prompt=prompts.get(index, plan.prompt),
            seed=plan.seed if seeds[index].seed is None else seeds[index].seed,
        )
        for index, plan in enumerate(_story(config).sections)
    )


def end_image_of(config: FramePackGenerate) -> Path | None:
    """What the video ends on: the configuration's own end image goes over the storyboard's."""
    if config.end_image is not None or config.story is None:
        return config.end_image
    return _story(config).end_image


def redo(config: FramePackGenerate, section: int, prompt: str | None, seed: int) -> FramePackGenerate:
    """The configuration that makes a section, and all that is made after it, again: with a seed of its own,
    or the noise of the run for -1, and perhaps another prompt.

    Raises ConfigError for a section that is not there, and for single frames.
    """
    if config.one_frame:
        raise ConfigError("redo: single frames have no sections. Generate them again with another --seed.")
    count = config.video_sections
    if not -count <= section < count:
        raise ConfigError(
            f"section {section}: the video has {count}: 0 to {count - 1}, or -1 to -{count} from the end."
        )
    section %= count
    plans = section_plans(config)
    seeds = [None if plan.seed is None else str(plan.seed) for plan in plans]
    seeds[section] = None if seed < 0 else str(seed)
    config = replace(config, section_seeds=write_section_spec(seeds))
    if prompt is None:
        return config
    prompts = [plan.prompt for plan in plans]
    prompts[section] = prompt
    return replace(config, prompt=write_section_spec(prompts))


def _story(config: FramePackGenerate) -> Storyboard:
    assert config.story is not None
    return read_story(config.story, window=config.latent_window_size, num_loras=len(config.lora))


def _count_sections(review: Review[FramePackGenerate]) -> int:
    config, window = review.config, review.config.latent_window_size
    if config.video_sections:
        wanted = config.video_sections
    elif config.num_frames:
        wanted = _sections_of_frames(review, config.num_frames)
    elif config.video is not None:
        return _sections_of_clip(review, config.video)
    else:
        wanted = count_sections(config.video_seconds, window)
    if config.video is not None and wanted > (there := _sections_of_clip(review, config.video)):
        message = f"video_sections: {config.video} is long enough for {there}, not for {wanted}."
        review.adjust("video_sections", there, message)
        return there
    return wanted


def _sections_of_frames(review: Review[FramePackGenerate], num_frames: int) -> int:
    """The number of sections whose frames are nearest to those asked for."""
    window = review.config.latent_window_size
    count = max(round((num_frames - 1) / (4 * window)), 1)
    frames = count_frames(count, window)
    if frames != num_frames:
        message = f"num_frames: {num_frames} is not one frame and whole sections of {4 * window}."
        review.adjust("num_frames", frames, message)
    return count


def _sections_of_clip(review: Review[FramePackGenerate], path: Path) -> int:
    window = review.config.latent_window_size
    if path.suffix in LATENT_FILES:
        frames = frames_of_latents(read_latents(path).shape[2])
    else:
        frames = round(probe_video(path).duration * FRAMES_PER_SECOND)
    count = count_sections_of_clip(frames, window)
    if not count:
        review.refuse(
            f"video: {path} is {frames} frames long at {FRAMES_PER_SECOND} per second; a section needs"
            f" {count_frames(1, window)}. Give a longer clip, or a smaller --latent-window-size."
        )
    return max(count, 1)
