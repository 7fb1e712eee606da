"""One section: from noise, and all that it sees, to clean latents."""

import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from reelwright.core.events import StepDone
from reelwright.diffusion.guidance import guide, rescale
from reelwright.diffusion.process import FLOW, add_noise
from reelwright.diffusion.samplers import FLOW_SAMPLERS, DrawNoise, PredictX0
from reelwright.diffusion.schedules import Step, flow_steps, shift_of_tokens
from reelwright.execution.devices import peak_memory
from reelwright.execution.policy import Branch, Call, PreparedDenoiser
from reelwright.families.framepack.conditions import Conditions
from reelwright.families.framepack.config import FramePackGenerate
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
    predict_x0 = _predictor(denoiser, config, look, steps)
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
    denoiser: PreparedDenoiser, config: FramePackGenerate, look: Look, steps: Sequence[Step]
) -> PredictX0:
    """Clean latents by guided velocity; a real guidance of exactly 1 leaves the negative pass out."""
    calls = [_calls(config, look, step, index, len(steps), denoiser) for index, step in enumerate(steps)]
    denoiser.start([call for pair in calls for call in pair])
    known = {step.timestep: pair for step, pair in zip(steps, calls, strict=True)}

    @torch.no_grad()
    def predict_x0(latents: Tensor, step: Step) -> Tensor:
        positive, *negative = (denoiser(latents, call) for call in known[step.timestep])
        guided = positive
        if negative:
            guided = guide(negative[0], positive, config.guidance_scale)
            if config.guidance_rescale:
                guided = rescale(guided, positive, config.guidance_rescale)
        return FLOW.predict_x0(latents.to(denoiser.dtype).float(), guided, step.level)

    return predict_x0


def _calls(
    config: FramePackGenerate, look: Look, step: Step, index: int, num_steps: int, denoiser: PreparedDenoiser
) -> list[Call]:
    """With the prompt, then with the negative prompt where there is one."""
    device = look.positive.text_BLD.device
    told = torch.tensor([step.timestep], device=device, dtype=torch.float32)
    if config.compatibility.timestep == "model":
        told = told.to(denoiser.dtype)
    is_scaled = 0.0 <= config.rope_scaling_timestep_threshold <= step.timestep
    branches: list[tuple[Branch, Conditions | None]] = [
        ("positive", look.positive),
        ("negative", look.negative),
    ]
    return [
        Call(
            step=index,
            num_steps=num_steps,
            branch=branch,
            timestep_B=told,
            conditions=replace(known, rope_scale=config.rope_scaling_factor) if is_scaled else known,
        )
        for branch, known in branches
        if known is not None
    ]
