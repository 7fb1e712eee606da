"""From what a user asked for to one clip that the model can make, before anything loads."""

from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from reelwright.execution.guidance_passes import check_guidance_passes
from reelwright.execution.step_cache.choosing import check_step_cache
from reelwright.families.cogvideox.checkpoints import CogVideoXModel, Layout
from reelwright.families.cogvideox.conditions import chosen_image_scale
from reelwright.families.cogvideox.config import CogVideoXGenerate
from reelwright.families.cogvideox.latent_space import CHUNK_IS_FIXED
from reelwright.families.cogvideox.step_cache_facts import step_cache_facts
from reelwright.media.geometry import FrameRule, nearest_multiple
from reelwright.media.image_ops import fit_image, open_image, to_pixels
from reelwright.media.video_reader import probe_video, stream_video
from reelwright.protocols.review import Review

_SHORT_SIDE, _LONGEST_SIDE = 768, 1360
"""Of the image models of 1.5, in pixels (specs: CogVideoX 5.5)."""


@dataclass(frozen=True, kw_only=True)
class CogVideoXRequest:
    """One clip to make; images and clips are pixels in [-1, 1]."""

    config: CogVideoXGenerate
    notices: tuple[str, ...] = ()
    first_image_CHW: Tensor | None = None
    last_image_CHW: Tensor | None = None
    clip_BCFHW: Tensor | None = None
    """The clip to start from, or the one that controls."""


def resolve(config: CogVideoXGenerate, model: CogVideoXModel) -> CogVideoXRequest:
    """Fill in what was left open, adjust what is not legal, and read the inputs.

    Raises ConfigError with all problems at once, FileError for an input that cannot be read.
    """
    review = Review(config)
    _check_prompt(review, model)
    _check_inputs(review, model)
    check_step_cache(review, step_cache_facts(model.transformer))
    check_guidance_passes(review, is_guided=config.guidance_scale > 1.0)
    review.raise_problems()  # what the model has no input for is not read
    _choose_size(review, model)
    _choose_length(review, model)
    _choose_sampling(review, model)
    review.raise_problems()
    return _read_inputs(review.config, tuple(review.notices))


def _check_prompt(review: Review[CogVideoXGenerate], model: CogVideoXModel) -> None:
    if not review.config.prompt.strip():
        review.refuse("prompt: is empty. Describe what to show, best in a few sentences.")
        return
    max_tokens = review.config.compatibility.text_tokens or model.transformer.max_text_seq_length
    for key in ("prompt", "negative_prompt"):
        cut = model.text.tokenize(getattr(review.config, key), max_tokens)[1]
        if not cut:
            continue
        shown = cut if len(cut) <= 200 else f"{cut[:200]}…"
        message = f"{key}: the model reads {max_tokens} tokens; this part is cut off: “{shown}”."
        if review.config.strict:
            review.refuse(f"{message} Shorten it.")
        else:
            review.notices.append(message)


_TAKES = {
    Layout.TEXT: "text alone, or a clip with --video",
    Layout.IMAGE: "an --image",
    Layout.CONTROL: "a --control-video",
    Layout.INPAINT: "text, an --image or an --image and an --end-image",
}


def _check_inputs(review: Review[CogVideoXGenerate], model: CogVideoXModel) -> None:
    config, layout = review.config, model.layout
    takes = f"{model.name} takes {_TAKES[layout]}."
    allowed = {
        "image": layout in (Layout.IMAGE, Layout.INPAINT),
        "end_image": layout in (Layout.IMAGE, Layout.INPAINT),
        "video": layout is Layout.TEXT,
        "control_video": layout is Layout.CONTROL,
    }
    for key, legal in allowed.items():
        if getattr(config, key) is not None and not legal:
            review.refuse(f"{key}: this model has no input for it. {takes} Choose another --model.")
    if layout is Layout.IMAGE and config.image is None:
        review.refuse(f"image: is missing. {takes}")
    if layout is Layout.CONTROL and config.control_video is None:
        review.refuse(f"control_video: is missing. {takes}")
    if config.end_image is not None and config.image is None:
        review.refuse("end_image: needs an --image to come from.")
    if layout is Layout.IMAGE and config.end_image is not None:
        review.notices.append(
            "end_image: the released image models know a first frame only; expect little of it."
        )
    if config.execution.vae_chunk:
        review.refuse(CHUNK_IS_FIXED)
    if config.video is None and config.strength != CogVideoXGenerate().strength:
        review.refuse("strength: says how far to leave a clip; give one with --video.")
    if layout is not Layout.IMAGE and config.image_latent_scale != "auto":
        review.refuse("image_latent_scale: is for image-to-video models only. Leave it out.")


def _choose_size(review: Review[CogVideoXGenerate], model: CogVideoXModel) -> None:
    native_height, native_width = _native_size(review.config, model)
    step = model.autoencoder.spatial_stride * model.transformer.patch_size
    for key, native in (("height", native_height), ("width", native_width)):
        value = getattr(review.config, key) or native
        legal = (
            native
            if model.transformer.use_learned_positional_embeddings
            else nearest_multiple(value, step, step)
        )
        if value == legal:
            review.set(**{key: value})
        elif model.transformer.use_learned_positional_embeddings:
            review.adjust(
                key, legal, f"{key}: this model's table of positions is for {native} pixels, not {value}."
            )
        else:
            review.adjust(key, legal, f"{key}: {value} is no multiple of {step}.")
    chosen = (review.config.height, review.config.width)
    if chosen != (native_height, native_width):
        review.notices.append(
            f"size: {model.name} is best at {native_width} x {native_height};"
            f" {chosen[1]} x {chosen[0]} may look worse."
        )


def _native_size(config: CogVideoXGenerate, model: CogVideoXModel) -> tuple[int, int]:
    """Height and width in pixels that suit the model, and the image where the model takes any aspect."""
    stride = model.autoencoder.spatial_stride
    if model.transformer.is_second_generation and model.layout is Layout.IMAGE and config.image is not None:
        return _size_of_image(config.image, stride * model.transformer.patch_size)
    return model.transformer.native_size(stride)


def _size_of_image(path: Path, step: int) -> tuple[int, int]:
    """Height and width with the image's aspect, as far as the longest side allows."""
    image = open_image(path).rgb
    scale = _SHORT_SIDE / min(image.size)
    height, width = (min(side * scale, _LONGEST_SIDE) for side in (image.height, image.width))
    return nearest_multiple(height, step, step), nearest_multiple(width, step, step)


def _choose_length(review: Review[CogVideoXGenerate], model: CogVideoXModel) -> None:
    config, transformer = review.config, model.transformer
    rule = FrameRule(
        step=model.transformer.frame_step,
        maximum=transformer.sample_frames if transformer.use_learned_positional_embeddings else None,
    )
    fps = config.fps or model.fps
    review.set(fps=fps)
    wanted = config.num_frames or transformer.sample_frames
    nearest = rule.nearest(wanted)
    source = config.video or config.control_video
    if source is not None and (there := _count_frames(source, fps, nearest)) < nearest:
        _fit_to_clip(review, f"num_frames: {source} has {there} frames at {fps:g} per second", rule, there)
        return
    problem = rule.problem(wanted)
    if problem:
        review.adjust("num_frames", nearest, f"num_frames: {problem}")
    else:
        review.set(num_frames=wanted)
    if review.config.num_frames > model.longest:
        review.notices.append(
            f"num_frames: {model.name} was trained on up to {model.longest}; longer clips may fall apart."
        )


def _fit_to_clip(review: Review[CogVideoXGenerate], message: str, rule: FrameRule, there: int) -> None:
    """Make as many frames as the clip to start from has, at most."""
    below = rule.nearest(there)
    fitting = below if below <= there else below - rule.step
    if review.config.num_frames:
        message = f"{message}, {review.config.num_frames} were asked for. Ask for {fitting} or fewer."
        review.adjust("num_frames", fitting, message)
    else:
        review.set(num_frames=fitting)
        review.notices.append(f"{message}. Using {fitting}.")


def _count_frames(path: Path, fps: float, at_most: int) -> int:
    """How many frames a clip has at a rate; decoding stops at `at_most`."""
    probe_video(path)
    return sum(1 for _ in islice(stream_video(path, fps=fps, max_frames=at_most), at_most))


def _choose_sampling(review: Review[CogVideoXGenerate], model: CogVideoXModel) -> None:
    config = review.config
    if config.sampler == "auto":
        review.set(sampler=model.default_sampler)
    if config.timestep_spacing == "auto":
        review.set(timestep_spacing=model.scheduler.timestep_spacing)
    if model.layout is Layout.IMAGE:
        review.set(image_latent_scale=chosen_image_scale(config.image_latent_scale, model.transformer))
    if config.negative == "zero" and config.negative_prompt:
        review.refuse("negative_prompt: is not read with --negative zero. Drop one of them.")
    if config.steps > model.scheduler.num_train_timesteps:
        review.refuse(f"steps: at most {model.scheduler.num_train_timesteps}.")


def _read_inputs(config: CogVideoXGenerate, notices: tuple[str, ...]) -> CogVideoXRequest:
    said = list(notices)

    def read_image(path: Path | None) -> Tensor | None:
        if path is None:
            return None
        opened = open_image(path)
        said.extend(opened.notices)
        return to_pixels(fit_image(opened.rgb, config.width, config.height, config.image_fit))

    clip = config.video or config.control_video
    return CogVideoXRequest(
        config=config,
        first_image_CHW=read_image(config.image),
        last_image_CHW=read_image(config.end_image),
        clip_BCFHW=None if clip is None else _read_clip(clip, config),
        notices=tuple(said),
    )


def _read_clip(path: Path, config: CogVideoXGenerate) -> Tensor:
    """The clip's frames at the rate and size of the new one, [1, 3, F, H, W]."""

    def fitted(frame_HWC: Tensor) -> Tensor:
        image = Image.fromarray(frame_HWC.numpy())
        return to_pixels(fit_image(image, config.width, config.height, config.image_fit))

    frames = stream_video(path, fps=config.fps, max_frames=config.num_frames)
    return torch.stack([fitted(frame) for frame in frames], dim=1).unsqueeze(0)
