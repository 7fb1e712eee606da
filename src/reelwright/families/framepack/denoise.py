"""One section: from noise, and all that it sees, to clean latents."""

import math
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from reelwright.core.events import StepDone
from reelwright.diffusion.guidance import guide, rescale
from reelwright.diffusion.process import FLOW, add_noise
from reelwright.diffusion.samplers import FLOW_SAMPLERS, DrawNoise, PredictX0
from reelwright.diffusion.schedules import Step, flow_steps, shift_of_tokens
from reelwright.execution.devices import peak_memory
from reelwright.execution.guidance_passes import fits_together, passes_are_together, predict
from reelwright.execution.policy import Branch, Call, PreparedDenoiser
from reelwright.families.framepack.conditions import Conditions, join
from reelwright.families.framepack.config import FramePackGenerate
from reelwright.families.framepack.transformer import FramePackTransformer
from reelwright.media.latent_preview import paint_latents
from reelwright.protocols.family import Made, Preview


@dataclass(frozen=True, kw_only=True)
class Look:
    """The conditions of a section with its prompt, and with the negative prompt where guidance reads it."""

    positive: Conditions
    negative: Conditions | None = None


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where a section's steps stand among those of the whole clip."""

    done: int
    total: int
    colors: Tensor | None = None
    """Of latent cells, for previews; None where none are wanted."""


def plan_steps(config: FramePackGenerate, latent_shape: torch.Size) -> list[Step]:
    """The steps of one section, noisiest first (specs: FramePack 2.4); from a clip, of less noise."""
    frames, height, width = latent_shape[2:]
    shift = config.flow_shift or shift_of_tokens(frames * height * width // 4)
    strength = config.strength if config.video is not None else 1.0
    return flow_steps(config.steps, shift, strength=strength) if strength > 0 else []


def denoise(
    denoiser: PreparedDenoiser,
    config: FramePackGenerate,
    look: Look,
    noise_BCTHW: Tensor,
    initial_BCTHW: Tensor | None,
    draw_noise: DrawNoise,
    progress: Progress,
) -> Generator[Made, None, Tensor]:
    """Make the latents of a section, float32 on the device; a StepDone for every step."""
    device = look.positive.text_BLD.device
    steps = plan_steps(config, noise_BCTHW.shape)
    latents = noise_BCTHW
    if initial_BCTHW is not None:
        latents = add_noise(initial_BCTHW, noise_BCTHW, steps[0].level) if steps else initial_BCTHW
    latents = latents.to(device)
    predict_x0 = _predictor(denoiser, config, look, steps, latents.shape)
    started = time.perf_counter()
    states = FLOW_SAMPLERS[config.sampler](predict_x0, latents, steps, lambda: draw_noise().to(device))
    for index, state in enumerate(states, start=1):
        latents = state.latents
        seconds, started = time.perf_counter() - started, time.perf_counter()
        step = progress.done + index
        yield StepDone("denoise", step, progress.total, seconds, peak_memory(device))
        if not torch.isfinite(latents).all():
            break
        if progress.colors is not None and index % config.preview_every == 0 and index < len(steps):
            yield Preview(image_HWC=paint_latents(state.x0[0], progress.colors), step=step)
    return latents


def _predictor(
    denoiser: PreparedDenoiser,
    config: FramePackGenerate,
    look: Look,
    steps: Sequence[Step],
    shape: torch.Size,
) -> PredictX0:
    """Clean latents by guided velocity; a real guidance of exactly 1 leaves the negative pass out."""
    conditions_of = _conditions_of(look, denoiser, config, shape)
    calls = [
        _calls(config, conditions_of, step, index, len(steps), denoiser) for index, step in enumerate(steps)
    ]
    denoiser.start([call for of_step in calls for call in of_step])
    known = {step.timestep: of_step for step, of_step in zip(steps, calls, strict=True)}

    @torch.no_grad()
    def predict_x0(latents: Tensor, step: Step) -> Tensor:
        predictions = predict(denoiser, latents, known[step.timestep])
        guided = positive = predictions["positive"]
        if "negative" in predictions:
            guided = guide(predictions["negative"], positive, config.guidance_scale)
            if config.guidance_rescale:
                guided = rescale(guided, positive, config.guidance_rescale)
        return FLOW.predict_x0(latents.to(denoiser.dtype).float(), guided, step.level)

    return predict_x0


def _conditions_of(
    look: Look, denoiser: PreparedDenoiser, config: FramePackGenerate, shape: torch.Size
) -> dict[Branch, Conditions]:
    """What each pass of a step sees: with the prompt, then with the negative prompt, or both at once."""
    positive, negative = look.positive, look.negative
    if negative is None:
        return {"positive": positive}
    network, device = denoiser.network, positive.text_BLD.device
    assert isinstance(network, FramePackTransformer)
    num_tokens = _num_tokens(positive, shape)
    fits = partial(fits_together, num_tokens, network.config.width, denoiser.dtype, device)
    if passes_are_together(config.execution, fits, usually=False):
        return {"both": join(negative, positive)}
    return {"positive": positive, "negative": negative}


def _num_tokens(conditions: Conditions, shape: torch.Size) -> int:
    """Of video, text and image, for noisy latents of a shape."""
    groups = [(1, shape), *((reduced, clean.latents_BCTHW.shape) for reduced, clean in conditions.history)]
    video = sum(math.prod(size[2:]) // (4 * reduced**3) for reduced, size in groups)
    return video + conditions.text_BLD.shape[1] + conditions.image_BLD.shape[1]


def _calls(
    config: FramePackGenerate,
    conditions_of: Mapping[Branch, Conditions],
    step: Step,
    index: int,
    num_steps: int,
    denoiser: PreparedDenoiser,
) -> list[Call]:
    is_scaled = 0.0 <= config.rope_scaling_timestep_threshold <= step.timestep

    def told(known: Conditions) -> Tensor:
        size, device = len(known.text_lengths), known.text_BLD.device
        timestep_B = torch.full((size,), step.timestep, device=device, dtype=torch.float32)
        return timestep_B.to(denoiser.dtype) if config.compatibility.timestep == "model" else timestep_B

    return [
        Call(
            step=index,
            num_steps=num_steps,
            branch=branch,
            timestep_B=told(known),
            conditions=replace(known, rope_scale=config.rope_scaling_factor) if is_scaled else known,
        )
        for branch, known in conditions_of.items()
    ]
