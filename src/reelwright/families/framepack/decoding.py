"""Latents of a video as frames: window by window, at once, or single frames alone."""

from collections.abc import Iterator, Sequence

from torch import Size, Tensor

from reelwright.families.framepack.clips import STRIDE
from reelwright.families.framepack.config import Direction, FramePackGenerate
from reelwright.families.framepack.latent_space import LatentSpace
from reelwright.families.framepack.sections import (
    Window,
    decode_windows,
    fade_frames,
    frames_of_latents,
)
from reelwright.families.framepack.story_schema import FRAMES_PER_SECOND
from reelwright.protocols.family import Segment


def view_latents(
    space: LatentSpace,
    latents_BCTHW: Tensor,
    config: FramePackGenerate,
    direction: Direction,
    flaw: str = "",
) -> Segment:
    """The latents of a whole video, or of single frames, and how to see them."""
    latents = latents_BCTHW.float().cpu().contiguous()
    count = latents.shape[2]
    window = config.latent_window_size
    cut = config.compatibility.decode_windows
    windows = (
        ((0, count),) if config.bulk_decode else decode_windows(count, direction, window=window, cut=cut)
    )
    return Segment(
        latents_BCTHW=latents,
        num_frames=count if config.one_frame else frames_of_latents(count),
        fps=config.fps or float(FRAMES_PER_SECOND),
        decode=lambda: (
            _decode_alone(space, latents)
            if config.one_frame
            else space.decode_windows(latents, windows, fade_frames(window))
        ),
        lessen=lambda: space.tiles.lessen(*latents.shape[3:]),
        unasked=space.tiles.unasked,
        flaw=flaw,
        metadata=_metadata(config, latents.shape),
    )


def view_section(space: LatentSpace, latents_BCTHW: Tensor) -> Iterator[Tensor]:
    """The frames of one section without those around it: a little rough at both ends."""
    return _decode_whole(space, latents_BCTHW)


def _decode_alone(space: LatentSpace, latents_BCTHW: Tensor) -> Iterator[Tensor]:
    for latent in latents_BCTHW.split(1, dim=2):
        yield from _decode_whole(space, latent)


def _decode_whole(space: LatentSpace, latents_BCTHW: Tensor) -> Iterator[Tensor]:
    whole: Sequence[Window] = ((0, latents_BCTHW.shape[2]),)
    return space.decode_windows(latents_BCTHW, whole, 0)


def _metadata(config: FramePackGenerate, shape_BCTHW: Size) -> dict[str, str]:
    """What other programs read in a file of latents (specs: FramePack 8.4)."""
    num_latents, height, width = shape_BCTHW[2:]
    facts = {
        "seeds": config.seed,
        "prompt": config.prompt,
        "height": height * STRIDE,
        "width": width * STRIDE,
        "video_seconds": frames_of_latents(num_latents) / FRAMES_PER_SECOND,
        "infer_steps": config.steps,
        "guidance_scale": config.guidance_scale,
        "latent_window_size": config.latent_window_size,
        "embedded_cfg_scale": config.distilled_guidance,
        "guidance_rescale": config.guidance_rescale,
        "sample_solver": config.sampler,
        "fps": config.fps,
    }
    if config.negative_prompt:
        facts["negative_prompt"] = config.negative_prompt
    return {name: str(value) for name, value in facts.items()}
