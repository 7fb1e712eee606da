"""What cannot be asked for, or not together."""

from reelwright.adapters.plan import AdapterPlan
from reelwright.families.framepack.config import FramePackGenerate
from reelwright.families.framepack.one_frame import parse_one_frame
from reelwright.families.framepack.plans import end_image_of, section_plans
from reelwright.families.framepack.sections import one_frame_layout, section_paddings
from reelwright.protocols.review import Review

_RELEASED_WINDOW = 9
_ONLY_BACKWARD = ("end_image", "bridge_to", "loop", "latent_paddings")
_NOT_FORWARD = (
    "F1 makes sections forward and sees only what came before. Leave it out, or take the base model."
)
_ONLY_ONE_FRAME = ("control_image", "control_mask", "one_frame_auto_resize")
ONLY_VIDEO = (
    "story",
    "extend",
    "bridge_to",
    "loop",
    "end_image",
    "latent_paddings",
    "video",
    "section_seeds",
)
_PAIRS = (
    ("loop", "end_image"),
    ("loop", "bridge_to"),
    ("end_image", "bridge_to"),
    ("video", "extend"),
    ("story", "image"),
)


def check_options(review: Review[FramePackGenerate]) -> None:
    """Refuse options that the direction has no use for, that exclude each other, or that lack another."""
    config = review.config
    if not config.prompt.strip() and config.story is None:
        review.refuse("prompt: is empty. Describe what to show.")
    if config.direction == "forward":
        for name in (name for name in _ONLY_BACKWARD if getattr(config, name)):
            review.refuse(f"{name}: {_NOT_FORWARD}")
    for first, second in _PAIRS:
        if getattr(config, first) and getattr(config, second):
            review.refuse(f"{first}: cannot be together with {second}. Keep one of them.")
    if config.bridge_to and not config.extend:
        review.refuse("bridge_to: needs a clip to come from. Give one with --extend.")
    if config.video is None and config.strength != FramePackGenerate().strength:
        review.refuse("strength: says how far to leave a clip; give one with --video.")
    _check_guidance(review)
    if config.latent_window_size != _RELEASED_WINDOW:
        review.notices.append(
            f"latent_window_size: the released models know {_RELEASED_WINDOW};"
            f" {config.latent_window_size} may look worse."
        )


def check_one_frame(review: Review[FramePackGenerate]) -> None:
    """Refuse what is not for single frames, or for nothing else. Raises ConfigError for bad options."""
    config = review.config
    if not config.one_frame:
        for name in (name for name in _ONLY_ONE_FRAME if getattr(config, name)):
            review.refuse(f"{name}: is for single frames. Say which with --one-frame.")
        return
    for name in (name for name in ONLY_VIDEO if getattr(config, name)):
        review.refuse(f"{name}: is for videos, not for single frames. Leave it out.")
    if config.direction == "forward":
        review.notices.append("one_frame: is made for the base model; expect little of F1.")
    one_frame_layout(
        parse_one_frame(config.one_frame), len(config.control_image), window=config.latent_window_size
    )
    if len(config.control_mask) > len(config.control_image):
        review.refuse(
            f"control_mask: {len(config.control_mask)} masks for {len(config.control_image)} control images."
            " Give at most one for each."
        )
    if config.one_frame_auto_resize and not config.control_image:
        review.refuse("one_frame_auto_resize: takes the shape of a control image. Give --control-image.")
    if config.format == "mp4":
        review.set(format="png")


def check_sections(review: Review[FramePackGenerate], adapters: AdapterPlan) -> None:
    """Refuse what does not fit the number of sections. Raises ConfigError for texts that cannot be read."""
    config = review.config
    section_paddings(config.video_sections, config.latent_paddings)
    if config.end_image is None and end_image_of(config) is not None:
        _check_end_of_story(review)
    plans = section_plans(config)
    for index, plan in enumerate(plans):
        if not plan.prompt.strip():
            review.refuse(f"prompt: section {index} has none. Describe what to show.")
    if any(plan.lora_multipliers for plan in plans) and adapters.is_merged:
        review.notices.append("lora_mode: strengths change between sections, so LoRAs run unmerged.")


def _check_end_of_story(review: Review[FramePackGenerate]) -> None:
    config = review.config
    where = f"{config.story}: end_image:"
    if config.direction == "forward":
        review.refuse(f"{where} {_NOT_FORWARD}")
    for name in ("loop", "bridge_to"):
        if getattr(config, name):
            review.refuse(f"{where} cannot be together with {name}. Keep one of them.")


def _check_guidance(review: Review[FramePackGenerate]) -> None:
    config = review.config
    if config.guidance_scale != 1.0:
        return
    if config.guidance_rescale:
        review.refuse("guidance_rescale: acts on real guidance. Give a --guidance-scale other than 1.")
    if config.negative_prompt:
        review.notices.append(
            "negative_prompt: is not read at guidance_scale 1; distilled guidance knows no negative prompt."
        )
